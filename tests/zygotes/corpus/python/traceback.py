#: modes = ["terminal", "split", "pipes"]
def inner(value):
    return 1 / value


def outer():
    return inner(0) + inner(1)


print("before")
outer()
print("never")
