"""A terminal of a space: an interactive bash with any number of viewers, as large as the smallest of them."""

from collections.abc import Callable

import trio

from runnerd.errors import Forbidden
from runnerd.sandbox.box import Box
from runnerd.sandbox.spec import Window
from runnerd.session.program import Program
from runnerd.session.run import Run
from runnerd.session.shell import Site, SpaceRun
from runnerd.session.viewer import Resized, Viewer

ENV = {"HISTFILE": "/tmp/.bash_history"}
"""Not in the work tree, which is also the home, and is for the members' files."""


class Terminal(SpaceRun):
    """Bash on a terminal of its own, which goes on when nobody looks. `name` is by what members know it."""

    def __init__(self, id: str, name: str, site: Site, window: Window, over: Callable[[], None]) -> None:
        super().__init__(id, site, Run(argv=("bash",), mode="terminal", window=window, env=ENV), over)
        self.name = name
        self.seats: list[Seat] = []

    @property
    def window(self) -> Window:
        return self._window

    async def write(self, data: bytes, reader: Viewer | None = None) -> None:
        """As Session.write. The limit of output holds for what is written without anybody typing: a flood ends, and a
        terminal may be used for as long as its space lives."""
        self.feed.renew()
        await super().write(data, reader)

    def fit(self) -> None:
        """Be as large as the smallest of its viewers; those that only look do not count. Without any it stays."""
        windows = [seat.window for seat in self.seats if not seat.read_only]
        if not windows:
            return
        window = Window(min(each.rows for each in windows), min(each.cols for each in windows))
        if window != self._window:
            self.resize(window)
            self.feed.mark(Resized(window))

    def _attend(self, box: Box, program: Program, nursery: trio.Nursery) -> None:
        """Whether it waits for input is not told: at its prompt it always does."""


class Seat:
    """One viewer of a terminal, who uses it as a session. Whoever is `read_only` may look, and is refused the rest by
    Forbidden. Close it to leave; its viewer is closed then."""

    def __init__(self, terminal: Terminal, window: Window, offset: int, *, read_only: bool) -> None:
        self.terminal, self.window, self.read_only = terminal, window, read_only
        terminal.seats.append(self)
        terminal.fit()
        self.viewer = terminal.viewer(offset)

    async def write(self, data: bytes, reader: Viewer | None = None) -> None:
        """As Session.write."""
        await self._usable().write(data, reader)

    def close_input(self) -> None:
        self._usable().close_input()

    def resize(self, window: Window) -> None:
        """The viewer is so large now."""
        self.window = window
        self.terminal.fit()

    async def signal(self, name: str) -> None:
        """As Session.signal."""
        await self._usable().signal(name)

    def kill(self, message: str = "") -> None:
        """End the terminal, with all that was started in it. Does not wait."""
        self._usable().kill(message or "closed by a member")

    def close(self) -> None:
        if self in self.terminal.seats:
            self.terminal.seats.remove(self)
            self.viewer.close()
            self.terminal.fit()

    def _usable(self) -> Terminal:
        if self.read_only:
            raise Forbidden("this terminal may only be looked at", hint="attach without read_only, or as the host")
        return self.terminal
