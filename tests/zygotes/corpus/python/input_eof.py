#: modes = ["terminal", "split", "pipes"]
#: talk = [["more? ", "one\n"], ["more? ", "\u0004"]]
while True:
    print(repr(input("more? ")))
