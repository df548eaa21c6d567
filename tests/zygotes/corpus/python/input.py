#: modes = ["terminal", "split", "pipes"]
#: talk = [["name? ", "Adx\u007fa\n"], ["age? ", "36\n"]]
name = input("name? ")
age = int(input("age? "))
print(f"{name} is {age}")
