#: differs = true
print(hash("a"), hash(b"a"))
