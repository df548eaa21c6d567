print("never seen")
def broken(:
    pass
