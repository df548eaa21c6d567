#: modes = ["terminal", "split"]
import os
import shutil

print(os.ttyname(0), os.ttyname(1), os.get_terminal_size(), shutil.get_terminal_size(), os.ctermid())
print(os.tcgetpgrp(0) == os.getpgrp(), os.environ["TERM"], open("/dev/tty").isatty())
