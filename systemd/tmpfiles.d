# Where a Unix socket for a reverse proxy may lie: listen = "unix:/run/runnerd/socket".
d /run/runnerd 0750 runnerd runnerd -
