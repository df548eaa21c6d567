#: modes = ["terminal"]
#: talk = [["key", "x"]]
import sys
import termios
import tty

before = termios.tcgetattr(0)
tty.setcbreak(0)
print("key", flush=True)
print(repr(sys.stdin.read(1)))
termios.tcsetattr(0, termios.TCSADRAIN, before)
print(before == termios.tcgetattr(0), before[:4])
