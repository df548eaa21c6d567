import os
import sys

print("pass", sys.argv, sorted(os.environ), flush=True)
if len(sys.argv) == 1:
    os.execv(sys.executable, [sys.executable, "main.py", "again"])
