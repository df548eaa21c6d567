let value = = 3;
