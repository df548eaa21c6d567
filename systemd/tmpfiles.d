# Where a Unix socket for a reverse proxy may lie: listen = "unix:/run/runnerd/socket".
d /run/runnerd 0750 runnerd runnerd -
# Holds a /proc that nobody can reach: see runnerd.service.
d /run/runnerd-proc 0700 root root -
d /run/runnerd-proc/proc 0700 root root -
# Keys and caches: here before the service's first start, so that it is the service's whoever comes first.
d /var/lib/runnerd 0700 runnerd runnerd -
