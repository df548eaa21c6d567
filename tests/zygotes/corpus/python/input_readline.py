#: talk = [["name? ", "Lovelace\u0001Ada \n"], ["more? ", "\u001b[A!\n"]]
import readline

print(readline.get_current_history_length(), readline.get_line_buffer())
print(repr(input("name? ")))
print(repr(input("more? ")))
