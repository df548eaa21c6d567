value = = 3
