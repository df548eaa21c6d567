#: modes = ["terminal", "split", "pipes"]
#: talk = [["ready", "\u0003"]]
import time

print("ready", flush=True)
time.sleep(60)
