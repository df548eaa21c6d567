import warnings

print(warnings.filters)
warnings.warn("for users")
warnings.warn("old", DeprecationWarning)
warnings.warn("hidden", ImportWarning)
open("main.py")
print("after")
