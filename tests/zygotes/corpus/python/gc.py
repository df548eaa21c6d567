import gc

print(gc.isenabled(), gc.get_threshold(), gc.get_debug(), gc.garbage, gc.get_freeze_count(), gc.callbacks)
print(gc.collect() >= 0, gc.collect())
