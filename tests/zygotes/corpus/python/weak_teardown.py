# What is left at the end is torn down in the order of a fresh interpreter.
import weakref


class Noisy:
    def __init__(self, name):
        self.name = name
        weakref.finalize(self, print, "finalized", name)

    def __del__(self):
        print("del", self.name)


first, second = Noisy("first"), Noisy("second")
loop = Noisy("loop")
loop.self = loop
