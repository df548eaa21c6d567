import faulthandler
import sys

print(faulthandler.is_enabled(), flush=True)
faulthandler.dump_traceback(sys.stderr, all_threads=True)
