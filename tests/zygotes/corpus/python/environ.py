#: modes = ["terminal", "split", "pipes"]
#: env = { GREETING = "hällo wörld", EMPTY = "", TERM = "vt100", A = "=b=c" }
import os
import posix

print(list(os.environ.items()))
print(list(os.environb.items()))
print(posix.environ == dict(os.environb), os.getenv("GREETING"))
os.environ["NEW"] = "x"
del os.environ["EMPTY"]
print(os.popen("env | sort").read())
