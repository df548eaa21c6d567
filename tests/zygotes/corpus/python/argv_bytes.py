#: args = ["\u00ff", "a\tb\nc", "🂡"]
import os
import sys

print([os.fsencode(word) for word in sys.argv], ascii(sys.orig_argv))
