"""What lies under guest/ installs and kills services: it runs in the machine only, by a pytest of its own; and under
boxes/ a control group of one's own is needed."""

import os

collect_ignore = ["guest"] if os.environ.get("RUNNERD_TEST_LIMITS") == "cgroup" else ["guest", "boxes"]
