print("a"
values = [1, 2
