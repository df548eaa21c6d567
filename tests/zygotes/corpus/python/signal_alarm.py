import signal

signal.signal(signal.SIGALRM, lambda number, frame: print("alarm"))
signal.setitimer(signal.ITIMER_REAL, 0.01)
signal.pause()
signal.signal(signal.SIGALRM, signal.SIG_DFL)
signal.raise_signal(signal.SIGALRM)
