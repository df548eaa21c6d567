"""Best-effort limits: a watcher that ends a box over its memory, its processes or its CPU time.

It stands in where there is no cgroup v2. It sees what it sees every few hundredths of a second, so a box may be over
its limit for that long; what cannot be counted at all (System V memory, memfds) the best-effort filter refuses.
"""

import time
from collections.abc import Awaitable, Callable

import trio

from runnerd.sandbox.accounting import Meter, Sample
from runnerd.sandbox.handles import Handles
from runnerd.sandbox.keeper import End, Used
from runnerd.sandbox.spec import Limits, MiB, Outcome
from runnerd.sandbox.stillness import Clocks

__all__ = ["Sample", "Watcher", "watch"]

INTERVAL = 0.04
"""Seconds between two looks at a box that is far from its limit."""
QUIET = 0.08
"""The same where nothing has run for a while: most boxes wait for their user, and should cost little then, so the look
is but a glance at their CPU clocks."""
HASTE = 0.004
"""The least: a box near its limit or growing fast is looked at so often."""

_QUIET_AFTER = 10
"""So many looks that found nothing changed."""
_RATE = 512 * MiB
"""Bytes per second that any box is thought able to take; one that was seen to grow faster is thought to go on so."""
_GRACE = MiB
"""Init's and the leaders' own, which is not the program's."""
_TASKS_GRACE = 16
"""Init and the leaders are tasks too, and the kernel may count a dying one no more that is still in /proc."""


class Watcher:
    """The keeper of a box that has no cgroup."""

    cgroup = None

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._used = Used()

    async def watch(self, up: Callable[[], Awaitable[Handles | None]]) -> Outcome:
        if (handles := await up()) is None:
            await trio.sleep_forever()
        assert handles is not None
        return await watch(handles, self._limits, self._report)

    def end(self) -> End:
        return End()

    def used(self) -> Used:
        return self._used

    def short_of_processes(self) -> bool:
        return False

    def kill(self) -> None: ...

    async def remove(self) -> None:
        await trio.lowlevel.checkpoint()

    def _report(self, sample: Sample) -> None:
        self._used = Used(max(self._used.peak, sample.memory), sample.tasks, sample.cpu)


async def watch(handles: Handles, limits: Limits, report: Callable[[Sample], None]) -> Outcome:
    """Look again and again until a limit is broken, and return which. Every sample goes to `report`.

    Of a box that is gone nothing can be over a limit: this returns then only by being cancelled. Outcome.PROCESSES only
    well above the limit, where RLIMIT_NPROC, which makes fork fail with EAGAIN at the limit itself, has not held.
    """
    meter = Meter(handles, limits)
    before, at, unchanged = Sample(0, 0, 0.0), time.monotonic(), 0
    clocks: Clocks | None = None
    while True:
        if clocks is not None and clocks.stand():
            await trio.sleep(QUIET)
            continue
        # Read before the look, so that what runs during it is not missed.
        clocks = Clocks(handles.init) if unchanged > _QUIET_AFTER else None
        sample = await meter.look()
        if clocks is not None and len(clocks) != meter.processes:
            clocks = None
        report(sample)
        if (exceeded := broken(sample, limits)) is not None:
            return exceeded
        now = time.monotonic()
        growth = (sample.memory - before.memory) / max(now - at, HASTE)
        unchanged = unchanged + 1 if sample == before else 0
        longest = QUIET if unchanged > _QUIET_AFTER else INTERVAL
        await trio.sleep(min(longest, pause(limits.memory - sample.memory, growth)))
        before, at = sample, now


def broken(sample: Sample, limits: Limits) -> Outcome | None:
    """Which limit a sample is over, if any."""
    if sample.memory > limits.memory + _GRACE:
        return Outcome.MEMORY
    if limits.cpu and sample.cpu > limits.cpu:
        return Outcome.CPU
    if sample.tasks > limits.processes + _TASKS_GRACE:
        return Outcome.PROCESSES
    return None


def pause(room: int, growth: float) -> float:
    """Seconds until the next look, by which half of `room` bytes would be gone at twice the `growth` that was seen
    (bytes per second). Never less than HASTE."""
    return max(HASTE, room / 2 / max(_RATE, 2 * growth))
