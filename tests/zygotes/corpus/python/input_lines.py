#: modes = ["terminal", "split", "pipes"]
#: talk = [["go", "one\ntwo\n"], ["'two", "three\n"], ["'three", "\u0004"]]
import sys

print("go", flush=True)
for line in sys.stdin:
    print(repr(line), flush=True)
print("end")
