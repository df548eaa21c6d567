"""A module.

>>> double(2)
4
>>> double("a")
'ab'
"""
import doctest


def double(value):
    return value * 2


print(doctest.testmod())
