import sys


def hook(kind, value, trace):
    print("hook", kind.__name__, value, trace.tb_lineno)


sys.excepthook = hook
sys.unraisablehook = lambda unraisable: print("unraisable", unraisable.exc_value)


class Broken:
    def __del__(self):
        raise ValueError("in del")


Broken()
raise LookupError("gone")
