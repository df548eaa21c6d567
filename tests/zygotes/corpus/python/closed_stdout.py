import sys

print("written")
sys.stdout.close()
sys.stderr.write("still here\n")
print("fails")
