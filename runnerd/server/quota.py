"""Counting runs: how many someone has at a time, and has started within the last minute. Pure."""

import math
from collections import OrderedDict, deque
from collections.abc import Callable, Hashable

import msgspec

from runnerd.errors import OverQuota

WINDOW = 60.0
"""Seconds that a start counts."""

SOON = 1.0
"""Seconds after which a client may ask again whose runs are all under way: nobody knows when one ends."""


class _Count(msgspec.Struct):
    running: int = 0
    starts: deque[float] = msgspec.field(default_factory=deque[float])
    """Their times, oldest first: those within the window, and some that are older."""


class Quota:
    """Counts for any number of names. `clock` gives seconds that never go back."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._counts: OrderedDict[Hashable, _Count] = OrderedDict()

    def __len__(self) -> int:
        """How many names are remembered."""
        return len(self._counts)

    def take(self, name: Hashable, at_a_time: int, per_minute: int) -> None:
        """Count a run that starts now, until `give_back`. A limit of 0 is none.

        Raises OverQuota, and counts nothing then."""
        now = self._clock()
        self._forget_some(now)
        count = self._counts.get(name) or _Count()
        starts = count.starts
        _drop_old(starts, now)
        if at_a_time and count.running >= at_a_time:
            raise OverQuota(
                f"{count.running} of at most {at_a_time} runs are under way", retry_after=SOON, hint="end one first"
            )
        if per_minute and len(starts) >= per_minute:
            # As many must grow old as are too many: after a change of the limit that may be several.
            wait = starts[len(starts) - per_minute] + WINDOW - now
            raise OverQuota(
                f"at most {per_minute} runs may start within a minute", retry_after=math.ceil(wait * 10) / 10
            )
        self._counts[name] = count
        count.running += 1
        if per_minute:
            starts.append(now)

    def give_back(self, name: Hashable) -> None:
        """A run that was taken has ended."""
        count = self._counts[name]
        count.running -= 1
        if not count.running and not count.starts:
            del self._counts[name]

    def _forget_some(self, now: float) -> None:
        """Look at the two names that were not looked at for longest: each `take` adds one at most."""
        for _ in range(min(2, len(self._counts))):
            name, count = self._counts.popitem(last=False)
            _drop_old(count.starts, now)
            if count.running or count.starts:
                self._counts[name] = count


def _drop_old(starts: deque[float], now: float) -> None:
    while starts and starts[0] <= now - WINDOW:
        starts.popleft()
