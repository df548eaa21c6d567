import atexit
import os

atexit.register(print, "never")
print("lost on pipes")
os._exit(7)
