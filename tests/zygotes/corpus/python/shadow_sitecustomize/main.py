import sys

print("sitecustomize" in sys.modules, "usercustomize" in sys.modules)
import sitecustomize

print(sitecustomize.__file__)
