value = 42
print("imported", __name__)
