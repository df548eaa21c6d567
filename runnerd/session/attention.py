"""Finds out when a program on a terminal waits for input, by looking only while nothing is written or typed."""

from collections.abc import Callable

import trio

from runnerd.sandbox.handles import Handles
from runnerd.sandbox.waiting import waits_for_input
from runnerd.session.program import Program
from runnerd.session.viewer import Feed, State

QUIET = 0.010
"""Seconds without input or output before the first look."""

LOOKS = (0.005, 0.010, 0.020, 0.040)
"""Seconds between looks at a program that computes; the last one goes on. A program is found within 50 ms."""

RECHECK = 0.25
"""Seconds between looks at a program that waits: it may stop by itself, by a timeout."""

LOUD = 0.05
"""A program whose output does not pause for so long does not wait."""


class Attention:
    """Tells `running` and `waiting` by `tell`. `run` is its task.

    A key that is typed does not by itself end the waiting: the program may want a whole line. A control byte (Enter,
    Ctrl+C, Escape) does.
    """

    def __init__(self, handles: Handles, feed: Feed, program: Program, tell: Callable[[State], None]) -> None:
        self._handles, self._feed, self._program, self._tell = handles, feed, program, tell

    def input(self, data: bytes) -> None:
        """The program was given `data`, not empty."""
        if min(data) < 0x20:
            self._tell("running")

    async def run(self) -> None:
        feed, look = self._feed, 0
        while True:
            if await self._quiet():
                look = 0
            if waits_for_input(self._handles.proc, self._program.terminal) and self._program.settle():
                self._tell("waiting")
                if self._program.remind():
                    await feed.untouched(LOOKS[look], QUIET)
                else:
                    await feed.untouched(RECHECK, QUIET)
            else:
                self._tell("running")
                await feed.untouched(LOOKS[look], QUIET)
            look = min(look + 1, len(LOOKS) - 1)

    async def _quiet(self) -> bool:
        """Wait until there was no input or output for a moment; whether there was some."""
        since = trio.current_time()
        touched = False
        while (due := self._feed.active + QUIET) > (now := trio.current_time()):
            touched = True
            if now - since > LOUD:
                self._tell("running")
            await trio.sleep_until(due)
        return touched
