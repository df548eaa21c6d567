def fail(error):
    raise error


raise ExceptionGroup("several", [ValueError(1), ExceptionGroup("more", [TypeError("x"), KeyError("y")])])
