"""Which ports the programs of a space have opened, looked up now and then while any of them runs."""

from collections.abc import Callable

import trio

from runnerd.sandbox import sockdiag
from runnerd.sandbox.handles import Handles
from runnerd.sandbox.stillness import Clocks

INTERVAL = 0.3
"""Seconds between two looks at a space in which something runs: a port opens and closes by a program."""

LONGEST = 5.0
"""The same where nothing has run for a while, and the look is but a glance at CPU clocks."""

PORTS_MAX = 64
"""Ports that are told of: members need no list of what a program opens to annoy them."""


class Ports:
    """`tell` hears each port and whether it is open now. `open` are those that are. `run` is its task. `also` is called
    whenever it looks, for what else changes only while something runs."""

    def __init__(self, handles: Handles, tell: Callable[[int, bool], None], also: Callable[[], None]) -> None:
        self._handles, self._tell, self._also = handles, tell, also
        self._stirred = trio.Event()
        self.open: frozenset[int] = frozenset()

    def stir(self) -> None:
        """Something was done in the space: look soon."""
        self._stirred.set()

    async def run(self) -> None:
        """Until cancelled."""
        pause, clocks = INTERVAL, Clocks(self._handles.init)
        while True:
            with trio.move_on_after(pause) as waited:
                await self._stirred.wait()
            self._stirred = trio.Event()
            if not waited.cancelled_caught:
                pause = INTERVAL
                await trio.sleep(INTERVAL)
            elif len(clocks) and clocks.stand():
                pause = min(2 * pause, LONGEST)
                continue
            else:
                pause = INTERVAL
            clocks = Clocks(self._handles.init)  # before the look, so that nothing is missed
            self._look()
            self._also()

    def _look(self) -> None:
        if (ports := sockdiag.listening(self._handles.diag)) is None:
            self._stirred.set()  # another time
            return
        now = frozenset(sorted(ports)[:PORTS_MAX])
        before, self.open = self.open, now
        for port in sorted(before - now):
            self._tell(port, False)
        for port in sorted(now - before):
            self._tell(port, True)
