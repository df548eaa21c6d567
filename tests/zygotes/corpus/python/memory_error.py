try:
    bytearray(2**62)
except (MemoryError, OverflowError) as problem:
    print(type(problem).__name__)
raise MemoryError("on purpose")
