print(dir())
print(sorted(globals()))
print([name for name in dir(__builtins__)])
print(type(__annotations__), __annotations__)
