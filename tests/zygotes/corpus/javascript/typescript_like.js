const wrong: number = 1;
