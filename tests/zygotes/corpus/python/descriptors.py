#: modes = ["terminal", "split", "pipes"]
import os

print(sorted(os.listdir("/proc/self/fd"), key=int))
print([(fd, os.get_inheritable(fd), os.get_blocking(fd)) for fd in range(3)])
print(open("main.py").fileno(), os.open("/dev/null", os.O_RDONLY), os.pipe())
