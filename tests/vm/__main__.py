"""`python -m tests.vm service|boxes [pytest's options]`: some of the tests in the machine."""

import sys

from tests.vm import lane

if reason := lane.lacking():
    sys.exit(f"no machine can be had here: {reason}")
part = {"service": lane.service, "boxes": lane.boxes}[sys.argv[1]]
sys.exit(part(sys.argv[2:]))
