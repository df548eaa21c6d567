import random

print(random.__file__, random.choice)
import string

print(string.__file__)
