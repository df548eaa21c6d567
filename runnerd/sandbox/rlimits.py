"""Resource limits of every program, set by init inside the box's user namespace. Pure."""

import math
import resource
from collections.abc import Callable, Mapping

from runnerd.sandbox.spec import Limits

_MEMLOCK = 64 * 1024
"""Also what MSG_ZEROCOPY may pin, by which a socket's queue holds pages that nothing counts: huge ones whole."""
_INIT_AND_LEADER = 2
"""They are this user's in the box, so the kernel counts them with the program's own."""
_MSGQUEUE, _SIGPENDING = 12, 11  # the resource module does not name them


_BEHIND = 16
"""Where a cgroup counts processes it should refuse first, since it tells so."""


def rlimits(limits: Limits, *, cgroup: bool = False) -> dict[int, int]:
    """RLIMIT_ number -> value, soft and hard alike.

    No RLIMIT_AS: JVM, node and Go reserve tens of gigabytes of addresses that they never touch, so a limit they
    survive holds nobody. Memory is the cgroup's or the watcher's to hold, and an outcome says `memory`, not a crash.
    RLIMIT_NPROC counts threads too, of this box's user namespace alone; where a `cgroup` counts them it is the second
    line. RLIMIT_CPU, a second late, is the second line behind the box's own count, which takes all processes together.
    """
    values = {
        resource.RLIMIT_NPROC: limits.processes + _INIT_AND_LEADER + (_BEHIND if cgroup else 0),
        resource.RLIMIT_NOFILE: limits.files,
        resource.RLIMIT_FSIZE: max(limits.work, limits.tmp, limits.shm),
        resource.RLIMIT_CORE: 0,
        resource.RLIMIT_MEMLOCK: _MEMLOCK,
        _MSGQUEUE: 0,  # POSIX queues are kernel memory
        _SIGPENDING: 1024,
    }
    if limits.cpu:
        values[resource.RLIMIT_CPU] = math.ceil(limits.cpu) + 1
    return values


def within(values: Mapping[int, int], hard: Callable[[int], int]) -> dict[int, int]:
    """`values`, none above this process's own limit, which `hard` tells: the kernel would refuse to set it."""
    return {
        number: value if (own := hard(number)) == resource.RLIM_INFINITY else min(value, own)
        for number, value in values.items()
    }
