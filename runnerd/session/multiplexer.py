"""The terminals of a space, by their names."""

import math
from collections.abc import Callable, Sequence
from functools import partial

import trio

from runnerd.errors import BadRequest, Busy, NotFound
from runnerd.sandbox.spec import Window
from runnerd.session.shell import Site
from runnerd.session.terminal import Terminal


class Multiplexer:
    """At most `most` terminals at `site`. `serve` runs one to its end; `id` is the space's."""

    def __init__(self, id: str, site: Site, most: int, serve: Callable[[Terminal], None]) -> None:
        self._id, self._site, self._most, self._serve = id, site, most, serve
        self._terminals: dict[str, Terminal] = {}
        self._opened = 0
        self._version = 0
        self._lot = trio.lowlevel.ParkingLot()

    @property
    def terminals(self) -> Sequence[Terminal]:
        """In the order in which they were opened."""
        return list(self._terminals.values())

    @property
    def active(self) -> float:
        """Trio's time of the last output or input of any; -inf without one."""
        return max((terminal.feed.active for terminal in self._terminals.values()), default=-math.inf)

    def open(self, name: str | None, window: Window) -> Terminal:
        """A new terminal; without a name it gets the first number that is free. Raises Busy, BadRequest (`exists`)."""
        if len(self._terminals) >= self._most:
            raise Busy(f"{self._most} terminals are open in this space", retry_after=10, hint="close one first")
        if name in self._terminals:
            raise BadRequest(f"there is a terminal {name!r} already", hint="attach to it", code="exists")
        if name is None:
            name = next(free for number in range(1, self._most + 1) if (free := str(number)) not in self._terminals)
        self._opened += 1
        terminal = Terminal(f"{self._id}.t{self._opened}", name, self._site, window, partial(self._over, name))
        self._terminals[name] = terminal
        self._serve(terminal)
        self._tell()
        return terminal

    def find(self, name: str) -> Terminal:
        """Raises NotFound."""
        try:
            return self._terminals[name]
        except KeyError:
            raise NotFound(f"there is no terminal {name[:40]!r}", hint="list tells which there are") from None

    async def changed(self, seen: int) -> int:
        """Wait until terminals were opened or have ended after version `seen`; the version now, for the next call."""
        while self._version == seen:
            await self._lot.park()
        return self._version

    @property
    def version(self) -> int:
        return self._version

    def _over(self, name: str) -> None:
        del self._terminals[name]
        self._tell()

    def _tell(self) -> None:
        self._version += 1
        self._lot.unpark_all()
