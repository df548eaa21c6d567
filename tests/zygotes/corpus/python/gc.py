import gc

print(gc.isenabled(), gc.get_threshold(), gc.get_debug(), gc.garbage, gc.get_freeze_count(), gc.callbacks)
print(gc.collect() >= 0, gc.collect())
listed = [[]]
print([each is globals() for each in gc.get_referrers(listed)], gc.is_tracked(listed))
print(any(each is globals() for each in gc.get_objects()), gc.get_freeze_count())
