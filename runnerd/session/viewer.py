"""Joins a session's output and events to any number of viewers, each of which reads at its own speed."""

import math
from collections import deque
from collections.abc import Callable
from typing import Literal

import msgspec
import trio

from runnerd.sandbox.spec import Mode, Outcome, Usage, Window
from runnerd.session.output import Chunk as Output
from runnerd.session.output import OutputChannel, OutputLog

State = Literal["created", "running", "waiting", "finished", "terminated"]

CHUNK = 64 * 1024
"""The most bytes that one Output carries."""

CHUNK_LEAST = 2 * 1024
CHUNK_SECONDS = 0.03
"""For a slow client one carries what takes it about so long: what is on its way cannot be overtaken."""

PACE = 64 * 1024
"""Over so many bytes a client's pace is averaged: the kernel takes some at once, and then none for a while."""

TAIL = 2 * 1024
"""What a viewer that is behind is still shown of the output before an interrupt."""

HIGH_WATER = 256 * 1024
"""When every viewer is further behind than this, the program's output is left unread until one catches up."""

LOW_WATER = HIGH_WATER // 2

RETAIN = 3 * 1024 * 1024
"""Bytes kept for viewers that are behind: room for what is read beyond the mark, and for two full pipes at the end."""

MARKS = 64
"""State changes kept for viewers that are behind or come later."""


class Started(msgspec.Struct, frozen=True):
    """The first process runs. `timings` in milliseconds since the start was asked: box, program."""

    session: str
    language: str
    mode: Mode
    timings: dict[str, float]


class StateChange(msgspec.Struct, frozen=True):
    """`running` or `waiting` (for input); the other states are told by Started and Ended."""

    state: State


class Resized(msgspec.Struct, frozen=True):
    """The terminal is so large from here on."""

    window: Window


class Skipped(msgspec.Struct, frozen=True):
    """So many bytes of output are not shown to this viewer: it was behind when the program was interrupted."""

    size: int


class Ended(msgspec.Struct, frozen=True):
    """The last event. `code` when a program exited, `signal` (without SIG) when one ended it, `message` for people.

    `timings` in milliseconds since the start was asked: box, compile, program, output (the first), end.
    """

    outcome: Outcome
    code: int | None
    signal: str | None
    message: str
    usage: Usage
    timings: dict[str, float]


Event = Started | Output | StateChange | Resized | Skipped | Ended


class Feed:
    """A session's log and events, and who reads them.

    `limit` is the most bytes of output in all (0: any number); `over` is called once when a program writes more,
    `deserted` when the last viewer has left; after Ended, neither. `active` is trio's time of the last output or input.
    """

    def __init__(self, limit: int, over: Callable[[], None], deserted: Callable[[], None]) -> None:
        self.log = OutputLog(RETAIN)
        self.active = trio.current_time()
        self.first_output: float | None = None
        self.viewers: list[Viewer] = []
        self.rest: trio.CancelScope | None = None
        self._quiet = 0.0
        self._renewed = 0
        self._limit = limit or math.inf
        self._over, self._deserted, self._full = over, deserted, False
        self._marks: deque[tuple[int, Event]] = deque(maxlen=MARKS)
        self._marked = 0
        self._started: Started | None = None
        self._room = trio.lowlevel.ParkingLot()

    # --- the program's side ------------------------------------------------------------------------------------

    def append(self, channel: OutputChannel, data: bytes, reader: "Viewer | None" = None) -> None:
        """Log output and wake the viewers, but for `reader`, which is about to look by itself."""
        if self._full:
            return
        room = self._renewed + self._limit - self.log.size
        self._full = len(data) > room
        self.log.append(channel, data[: int(room)] if self._full else data)
        self.touch()
        if self.first_output is None:
            self.first_output = self.active
        self._wake(reader)
        if self._full:
            self._over()

    def flush(self, channel: OutputChannel) -> None:
        """Give out the beginning of a character whose rest does not come."""
        self.log.flush(channel)
        self._wake()

    def renew(self) -> None:
        """Count output towards the limit anew from here."""
        self._renewed = self.log.size

    @property
    def stalled(self) -> bool:
        """Whether there are viewers and all of them are far behind."""
        mark = self.log.end - HIGH_WATER
        return mark > 0 and bool(self.viewers) and all(viewer.offset < mark for viewer in self.viewers)

    async def room(self) -> None:
        """Wait until a viewer has caught up, or none is left."""
        while self.stalled:
            await self._room.park()

    # --- the session's side ------------------------------------------------------------------------------------

    def touch(self) -> None:
        """There was input or output now."""
        self.active = trio.current_time()
        if self.rest is not None:
            self.rest.deadline = min(self.rest.deadline, self.active + self._quiet)
            self.rest = None

    async def untouched(self, seconds: float, quiet: float) -> None:
        """Wait for `seconds`, or only until `quiet` seconds after the next input or output."""
        self._quiet = quiet
        with trio.CancelScope(deadline=trio.current_time() + seconds) as self.rest:
            await trio.sleep_forever()
        self.rest = None

    def start(self, event: Started) -> None:
        """The first event of every viewer."""
        self._started = event
        self._wake()

    def mark(self, event: StateChange | Resized | Ended) -> None:
        """An event that comes after all output up to now, and before all later output."""
        if isinstance(event, Ended):
            self.log.finish()
            # The session that they belong to has this feed as well: the two would keep each other, and with them all of
            # a client's code, until the interpreter's next full collection.
            self._over = self._deserted = _nobody
        self._marks.append((self.log.end, event))
        self._marked += 1
        self._wake()

    def overtake(self) -> None:
        """The program is interrupted: viewers that are behind see the last it wrote, and then what comes of it."""
        for viewer in self.viewers:
            viewer.overtake()

    def viewer(self, offset: int = 0) -> "Viewer":
        """A reader of everything from `offset` on, as far as it is kept. It counts as attached until it is closed."""
        viewer = Viewer(self, offset)
        self.viewers.append(viewer)
        return viewer

    # --- the viewers' side -------------------------------------------------------------------------------------

    @property
    def started(self) -> Started | None:
        return self._started

    def next_mark(self, seen: int) -> tuple[int, int, Event] | None:
        """(its number, offset, event) of the first event kept that is not among the `seen` first."""
        if seen >= self._marked:
            return None
        kept = len(self._marks)
        number = max(seen, self._marked - kept)
        return number, *self._marks[number - self._marked + kept]

    def moved(self, viewer: "Viewer") -> None:
        if self._room and self.log.end - viewer.offset <= LOW_WATER:
            self._room.unpark_all()

    def detach(self, viewer: "Viewer") -> None:
        if viewer in self.viewers:
            self.viewers.remove(viewer)
            self._room.unpark_all()
            if not self.viewers:
                self._deserted()

    def _wake(self, reader: "Viewer | None" = None) -> None:
        for viewer in self.viewers:
            if viewer is not reader:
                viewer.wake()


class Viewer:
    """Reads one session, in order: Started, then output and state changes as they came, then Ended.

    One task waits in `next`; `poll` may be called by any. `offset` is how far it has read. A viewer that is too far
    behind goes on at the oldest output kept, which shows in the next Output's offset.
    """

    def __init__(self, feed: Feed, offset: int) -> None:
        self.offset = offset
        self._feed = feed
        self._started = False
        self._seen = 0
        self._over = False
        self._skipped = 0
        self._chunk = CHUNK
        self._sent = self._sending = 0.0
        self._lot = trio.lowlevel.ParkingLot()

    def poll(self) -> Event | None:
        """The next event, or None when there is none at the moment."""
        feed = self._feed
        if not self._started and not self._over and (event := feed.started) is not None:
            self._started = True
            return event
        if self._skipped:
            event, self._skipped = Skipped(self._skipped), 0
            return event
        log = feed.log
        limit = self._chunk
        mark = feed.next_mark(self._seen)
        if mark is not None and not self._over:
            number, offset, event = mark
            limit = min(limit, offset - max(self.offset, log.start))
            if limit <= 0:
                self._seen = number + 1
                if isinstance(event, Ended):
                    self._over = True
                    self.wake()
                return event
        if self._over or (chunk := log.read(self.offset, limit)) is None:
            return None
        self.offset = chunk.offset + len(chunk.data)
        feed.moved(self)
        return chunk

    async def next(self) -> Event:
        """Wait for the next event. Raises trio.EndOfChannel after Ended, or when the viewer is closed.

        No other task runs between its poll and its return: what another polled meanwhile would overtake it.
        """
        await trio.lowlevel.checkpoint()
        while (event := self.poll()) is None:
            if self._over:
                raise trio.EndOfChannel
            await self._lot.park()
        return event

    @property
    def behind(self) -> bool:
        """Whether there is output that it has not read."""
        return self.offset < self._feed.log.end

    def took(self, size: int, seconds: float) -> None:
        """So long it took to send so many bytes: later ones come in pieces that take this client CHUNK_SECONDS."""
        keep = max(0.0, 1 - size / PACE)
        self._sent = self._sent * keep + size
        self._sending = self._sending * keep + seconds
        piece = CHUNK_SECONDS * self._sent / self._sending if self._sending else CHUNK
        self._chunk = int(max(CHUNK_LEAST, min(CHUNK, piece)))

    def overtake(self) -> None:
        """Leave out what has not been read, but for its tail."""
        log = self._feed.log
        if self.offset < log.end - TAIL:
            to = log.line_after(log.end - TAIL, TAIL)
            self._skipped += to - max(self.offset, log.start)
            self.offset = to
            self._feed.moved(self)
            self.wake()

    def wake(self) -> None:
        if self._lot:
            self._lot.unpark_all()

    def close(self) -> None:
        """Detach: the session does not wait for this viewer any more."""
        self._over = True
        self.wake()
        self._feed.detach(self)


def _nobody() -> None:
    """Who is told when the session has ended."""
