#: talk = [["ready", "\u0003"]]
import signal


def handler(number, frame):
    print("handled", number, frame.f_code.co_name, frame.f_lineno)


signal.signal(signal.SIGINT, handler)
print("ready", flush=True)
signal.pause()
print("went on")
