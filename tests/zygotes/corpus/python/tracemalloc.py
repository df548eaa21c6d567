import sys
import tracemalloc

print(tracemalloc.is_tracing(), sys.gettotalrefcount() if hasattr(sys, "gettotalrefcount") else "-")
tracemalloc.start()
value = [0] * 1000
print(tracemalloc.get_object_traceback(value))
