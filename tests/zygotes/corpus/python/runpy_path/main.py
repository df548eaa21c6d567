import runpy
import sys

print(sorted(runpy.run_path("other.py", run_name="__main__")))
print(runpy.run_module("other")["__spec__"], sys.argv)
