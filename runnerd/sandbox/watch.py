"""Best-effort limits: a watcher that ends a box over its memory, its processes or its CPU time.

It stands in where there is no cgroup v2. It sees what it sees every few hundredths of a second, so a box may be over
its limit for that long; what cannot be counted at all (System V memory, memfds) the best-effort filter refuses.
"""

import time
from collections.abc import Callable

import trio

from runnerd.sandbox.accounting import Meter, Sample
from runnerd.sandbox.handles import Handles
from runnerd.sandbox.spec import Limits, MiB, Outcome

__all__ = ["Sample", "watch"]

INTERVAL = 0.04
"""Seconds between two looks at a box that is far from its limit."""
HASTE = 0.004
"""The least: a box near its limit or growing fast is looked at so often."""

_RATE = 512 * MiB
"""Bytes per second that any box is thought able to take; one that was seen to grow faster is thought to go on so."""
_GRACE = MiB
"""Init's and the leaders' own, which is not the program's."""
_TASKS_GRACE = 16
"""Init and the leaders are tasks too, and the kernel may count a dying one no more that is still in /proc."""


async def watch(handles: Handles, limits: Limits, report: Callable[[Sample], None]) -> Outcome:
    """Look again and again until a limit is broken, and return which. Every sample goes to `report`.

    Of a box that is gone nothing can be over a limit: this returns then only by being cancelled. Outcome.PROCESSES only
    well above the limit, where RLIMIT_NPROC, which makes fork fail with EAGAIN at the limit itself, has not held.
    """
    meter = Meter(handles, limits)
    before, at = 0, time.monotonic()
    while True:
        sample = await meter.look()
        report(sample)
        if sample.memory > limits.memory + _GRACE:
            return Outcome.MEMORY
        if limits.cpu and sample.cpu > limits.cpu:
            return Outcome.CPU
        if sample.tasks > limits.processes + _TASKS_GRACE:
            return Outcome.PROCESSES
        now = time.monotonic()
        await trio.sleep(pause(limits.memory - sample.memory, (sample.memory - before) / max(now - at, HASTE)))
        before, at = sample.memory, now


def pause(room: int, growth: float) -> float:
    """Seconds until the next look, such that half of `room` bytes cannot be gone before it at twice the `growth` seen
    (bytes per second)."""
    return min(INTERVAL, max(HASTE, room / 2 / max(_RATE, 2 * growth)))
