# What refers to itself is finalized at the end, by whom and in which order a fresh interpreter does.
import os
import sys


class Node:
    def __init__(self, name, other=None):
        self.name, self.other = name, other or self

    def __del__(self):
        print("del", self.name, sys is not None, os is not None)


def closure():
    node = Node("closed over")
    node.function = lambda: (node, closure)
    return node.function


dropped = Node("dropped")
del dropped
pair = Node("left", Node("right"))
pair.other.other = pair
kept = closure()
os.kept = Node("in a module that was there before")
sys.modules["nowhere"] = Node("in sys.modules")
sys.exitfunc = Node("in sys")
print(list(globals()))
Node.last = Node("in its class")
