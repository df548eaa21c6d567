"""How long a space lives: its life as a whole, the time without input or output, and a grace when nobody is there."""

import math
from collections.abc import Callable, Sized

import trio

from runnerd.sandbox.spec import Limits

WARNING = 60.0
"""Seconds before the end of an idle space, or of one that has lived its time, at which members are told."""


class Lifetime:
    """`members` are looked at each time; `edited` says whether anybody edits a document, `active` (in trio's time) when
    programs last did something. `limits` give wall and idle seconds (0: without end), `grace` is in seconds.
    """

    def __init__(
        self, limits: Limits, grace: float, members: Sized, edited: Callable[[], bool], active: Callable[[], float]
    ) -> None:
        self._wall, self._idle, self._grace = limits.wall or math.inf, limits.idle or math.inf, grace
        self._members, self._edited, self._programs_active = members, edited, active
        self._stirred = trio.Event()
        self.begin()

    def begin(self) -> None:
        """It lives from now on."""
        self._began = self._active = self._deserted = trio.current_time()

    def stir(self) -> None:
        """Something was done: it is not idle."""
        self._active = trio.current_time()
        self._stirred.set()

    def desert(self) -> None:
        """Somebody has left, and was perhaps the last."""
        self._deserted = trio.current_time()

    def age(self) -> float:
        """Seconds."""
        return trio.current_time() - self._began

    def idle(self) -> float:
        """Seconds since anybody or anything did something."""
        return trio.current_time() - self._last_activity()

    async def run(self, warn: Callable[[float, str], None]) -> str:
        """Wait until it is over, and say why. Members are warned with the seconds that are left, and why."""
        warned = ""
        while True:
            seconds, reason = self._left()
            if seconds <= 0:
                return reason
            if self._members and seconds <= WARNING and reason != warned:
                warned = reason
                warn(seconds, reason)
            elif seconds > WARNING:
                warned = ""
            self._stirred = trio.Event()
            with trio.move_on_after(seconds - WARNING if seconds > WARNING else seconds):
                await self._stirred.wait()

    def _left(self) -> tuple[float, str]:
        """How many seconds are left, and what ends it then."""
        left = [
            (self._wall - self.age(), f"it has lived for {self._wall:g} s"),
            (self._idle - self.idle(), f"there was no input or output for {self._idle:g} s"),
        ]
        if not self._members and not self._edited():
            left.append((self._deserted + self._grace - trio.current_time(), "nobody came back"))
        return min(left)

    def _last_activity(self) -> float:
        return max(self._active, self._programs_active())
