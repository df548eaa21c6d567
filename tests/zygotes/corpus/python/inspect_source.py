import inspect
import linecache
import sys


def documented(a, b=2):
    """What it does."""
    return a + b


class Thing:
    attribute = 1


print(inspect.getsource(documented), inspect.getsource(Thing), inspect.getsourcelines(documented)[1])
print(inspect.getfile(documented), inspect.getmodule(Thing), inspect.signature(documented), linecache.getline("main.py", 1))
print(len(inspect.stack()), inspect.currentframe().f_back, sys._getframe().f_code)
