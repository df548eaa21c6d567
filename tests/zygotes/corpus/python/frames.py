import sys

print(sys._getframe().f_back, sys._getframe(0).f_lineno, sys._getframe().f_code.co_filename)
try:
    sys._getframe(1)
except ValueError as problem:
    print(problem)


def depth(n=0):
    try:
        return depth(n + 1)
    except RecursionError:
        return n


print(depth())
