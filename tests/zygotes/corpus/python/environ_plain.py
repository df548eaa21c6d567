#: modes = ["terminal", "split", "pipes"]
import ctypes
import os

print(os.environ)
environ = ctypes.POINTER(ctypes.c_char_p).in_dll(ctypes.CDLL(None), "environ")
count = 0
while environ[count] is not None:
    print(environ[count])
    count += 1
