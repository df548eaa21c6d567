# The program's file is older than the moment it reads the clock.
import os
import time

print(os.stat("main.py").st_mtime <= time.time(), os.access("main.py", os.X_OK))
