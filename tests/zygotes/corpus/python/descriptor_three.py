import os

try:
    os.fstat(3)
except OSError as problem:
    print(problem)
