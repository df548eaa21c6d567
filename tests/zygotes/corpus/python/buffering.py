#: modes = ["terminal", "split", "pipes"]
# What a crash leaves behind: on a terminal all whole lines, on a pipe nothing of stdout.
import os
import sys

print("a line")
print("no line", end="")
print("error line", file=sys.stderr)
print("error part", end="", file=sys.stderr)
os._exit(3)
