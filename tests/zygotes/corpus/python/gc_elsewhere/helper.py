import gc


def tell(what, names):
    print(any(each is names for each in gc.get_referrers(what)), gc.get_freeze_count())
