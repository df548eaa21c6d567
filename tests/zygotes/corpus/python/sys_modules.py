#: modes = ["terminal", "split", "pipes"]
import sys

print(list(sys.modules))
