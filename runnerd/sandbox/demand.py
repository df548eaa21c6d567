"""How many boxes of a kind should wait, by how often they were asked for. No I/O, no clock of its own."""

import math

MEMORY = 10.0
"""Seconds over which arrivals are averaged: an older one counts for less and less."""

AHEAD = 1.0
"""Seconds of arrivals that waiting boxes should cover, since making new ones takes its time."""


class Demand:
    """Arrivals of one kind. Times are seconds of any one clock."""

    def __init__(self, now: float) -> None:
        self._rate = 0.0
        self._at = now
        self.last = now
        """When the last one arrived, or this began."""

    def arrived(self, now: float) -> None:
        self._rate = self.rate(now) + 1 / MEMORY
        self._at = self.last = now

    def rate(self, now: float) -> float:
        """Arrivals per second."""
        return self._rate * math.exp((self._at - now) / MEMORY)

    def wanted(self, now: float, *, floor: int, ceiling: int) -> int:
        """So many that a run seldom finds none: the arrivals expected in AHEAD seconds, and twice their deviation."""
        expected = self.rate(now) * AHEAD
        return max(floor, min(ceiling, round(expected + 2 * math.sqrt(expected))))
