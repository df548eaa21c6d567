import subprocess
import sys

code = "import os, sys; print(sys.argv, sys.path, sorted(os.environ), list(sys.modules) [-3:], os.listdir('/proc/self/fd'))"
print(subprocess.run([sys.executable, "-c", code, "x"], capture_output=True, text=True))
print(sys.executable, sys._base_executable)
