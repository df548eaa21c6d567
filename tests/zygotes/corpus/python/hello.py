#: modes = ["terminal", "split", "pipes"]
print("hello, world")
