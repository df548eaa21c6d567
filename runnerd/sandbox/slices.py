"""Whom the kernel lets go first on a processor: the daemon before all boxes.

By itself Linux (EEVDF, 6.6 and later) lets whoever runs go on for a slice, though somebody wakes up: a program that was
just told to go on takes the daemon's processor in the middle of its work, and holds up the kernel's worker that would
bring the program's output to the daemon. Since 6.12 a thread that wakes takes the processor from one whose slices are
longer, at once. So the daemon has the shortest slices, and boxes longer ones than all the rest. Nobody's share of
processor time is changed, and boxes are equals among themselves.
"""

from runnerd.sandbox._native import lib

DAEMON = 100_000
"""Nanoseconds: the shortest that the kernel takes (kernel/sched/syscalls.c)."""

BOX = 4_000_000
"""Nanoseconds: above the kernel's own, which is 0.7 ms for one processor and 2.8 ms for eight or more."""


def take_short() -> None:
    """Give the calling thread and all that it starts the daemon's. Boxes get theirs as they are spawned."""
    lib.runnerd_slice(DAEMON)
