"""Whether anything in a box has run since a moment, told by the CPU clocks of its processes: a system call for each.

What has not run has neither taken memory nor started another. A thread that runs right now may show only at the next
tick of the kernel.
"""

import time
from collections.abc import Iterator
from contextlib import suppress

_PROCESS = 2
"""The clock of all threads of a process, in nanoseconds (CPUCLOCK_SCHED in linux/posix-timers.h)."""


class Clocks:
    """Those of a box's `init`, a pid of the host, and all its descendants, at the moment when this is made."""

    def __init__(self, init: int) -> None:
        self._times: dict[int, int] = {}
        with suppress(OSError):
            for pid in _family(init):
                clock = ~pid << 3 | _PROCESS
                self._times[clock] = time.clock_gettime_ns(clock)

    def __len__(self) -> int:
        """How many processes were found. Fewer than there are, when a thread other than its process's first started
        one, when one came or went meanwhile, or where the host's /proc does not tell."""
        return len(self._times)

    def stand(self) -> bool:
        """Whether none of them has run since, or ended."""
        try:
            return all(time.clock_gettime_ns(clock) == at for clock, at in self._times.items())
        except OSError:
            return False


def _family(pid: int) -> Iterator[int]:
    yield pid
    with open(f"/proc/{pid}/task/{pid}/children", "rb") as file:
        children = file.read().split()
    for child in children:
        yield from _family(int(child))
