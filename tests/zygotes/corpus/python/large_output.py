import sys

for number in range(5000):
    sys.stdout.write(f"line {number} of a long text\n")
sys.stderr.write("done\n")
