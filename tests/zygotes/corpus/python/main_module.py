#: modes = ["terminal", "split", "pipes"]
import sys

main = sys.modules["__main__"]
print(__name__, __file__, __doc__, __package__, __spec__, __loader__.__class__, __builtins__, __cached__ if "__cached__" in dir() else "-")
print(sorted(vars(main)), main.__dict__ is globals(), main.__loader__.path)
