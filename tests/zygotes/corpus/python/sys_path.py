#: modes = ["terminal", "split", "pipes"]
import sys

print(sys.path)
print(sys.meta_path)
print(sys.path_hooks)
print(sorted((key, type(value).__name__) for key, value in sys.path_importer_cache.items()))
