#: modes = ["terminal", "split", "pipes"]
#: talk = [["ready", "\u0003"], ["again", "\u0003"]]
import signal
import time

print(signal.getsignal(signal.SIGINT) is signal.default_int_handler)
try:
    print("ready", flush=True)
    time.sleep(60)
except KeyboardInterrupt as problem:
    print("caught", repr(problem))
    try:
        print("again", flush=True)
        signal.pause()
    finally:
        print("finally")
