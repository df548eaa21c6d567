#: modes = ["terminal", "split", "pipes"]
# What `site` finds below the home folder, which is that of the program's files.
import sys

print(sys.path, "usercustomize" in sys.modules, sys.path_said)
import mine

print(mine.__file__)
