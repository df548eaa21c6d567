print("the program's own", __file__)
