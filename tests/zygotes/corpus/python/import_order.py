#: modes = ["terminal", "split", "pipes"]
# What a later import finds of modules that nobody asked for so far.
import sys

before = set(sys.modules)
import json
import collections
import ctypes

print([name for name in sys.modules if name not in before])
