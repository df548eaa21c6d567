import importlib
import sys

import helper
from package import inner

print(helper.__file__, helper.value, helper.__spec__, inner.__file__, inner.up(), sys.path[0])
open("late.py", "w").write("value = 'written late'")
importlib.invalidate_caches()
print(importlib.import_module("late").value)
print(importlib.reload(helper) is helper, "main" in sys.modules, importlib.import_module("main").__name__)
