"""`python -m tests.vm [pytest's options]`: the tests of guest/, or some of them, in the machine."""

import sys

from tests.vm import lane

if reason := lane.lacking():
    sys.exit(f"no machine can be had here: {reason}")
sys.exit(lane.run(sys.argv[1:]))
