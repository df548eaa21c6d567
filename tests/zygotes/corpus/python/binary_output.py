#: modes = ["pipes"]
import sys

sys.stdout.buffer.write(bytes(range(128)) * 10)
sys.stdout.buffer.flush()
