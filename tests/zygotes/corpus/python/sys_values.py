#: modes = ["terminal", "split", "pipes"]
import sys

for name in sorted(vars(sys)):
    value = getattr(sys, name)
    if name not in ("modules", "stdlib_module_names") and not callable(value) and " at 0x" not in repr(value):
        print(name, repr(value))
print(sys.getrecursionlimit(), sys.getswitchinterval(), sys.gettrace(), sys.getprofile(), sys.excepthook is sys.__excepthook__)
print(sys.displayhook is sys.__displayhook__, sys.breakpointhook is sys.__breakpointhook__, sys.getdlopenflags())
