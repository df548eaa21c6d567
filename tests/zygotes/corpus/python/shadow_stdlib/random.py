choice = "my own"
