# The file is read once: what happens to it afterwards shows in the source lines of a traceback alone.
import os

os.remove("main.py")
raise ValueError("no source any more")
