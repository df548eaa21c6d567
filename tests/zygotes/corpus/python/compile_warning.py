# A SyntaxWarning is shown with its source line.
value = 1
print(value is 1, "\d" if False else "")
