#: differs = true
print({f"word {number}" for number in range(50)})
