#: modes = ["terminal", "split", "pipes"]
#: talk = [["name? ", "\u0003"]]
try:
    print(repr(input("name? ")))
except KeyboardInterrupt:
    print("interrupted")
    raise
