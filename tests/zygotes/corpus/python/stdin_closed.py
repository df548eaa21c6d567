#: modes = ["pipes"]
import sys

print(repr(sys.stdin.read()))
