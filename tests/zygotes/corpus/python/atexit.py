import atexit
import sys

atexit.register(print, "last")
atexit.register(lambda: sys.stderr.write("before last\n"))


@atexit.register
def broken():
    raise ValueError("in a handler")


print(atexit._ncallbacks())
