#: modes = ["terminal"]
#: talk = [["Password: ", "secret\n"]]
import getpass

print(len(getpass.getpass()), getpass.getuser())
