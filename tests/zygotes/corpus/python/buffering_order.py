import sys

for count in range(3):
    print("out", count)
    print("err", count, file=sys.stderr)
sys.stdout.flush()
print("end", file=sys.stderr)
