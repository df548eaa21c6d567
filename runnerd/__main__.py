"""`python -m runnerd` is the command `runnerd`."""

from runnerd.cli import main

raise SystemExit(main())
