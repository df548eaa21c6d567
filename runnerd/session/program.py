"""Pumps one program's descriptors: output into the feed, input to its terminal or pipe."""

import errno
import fcntl
import os
import select
import termios

import trio

from runnerd.errors import BadRequest
from runnerd.sandbox.process import Process
from runnerd.sandbox.spec import Window
from runnerd.session.output import OutputChannel
from runnerd.session.viewer import Feed, Viewer

INPUT_MAX = 1024 * 1024
"""Bytes of input that wait for a program that does not read; more is refused."""

READ_MIN, READ_MAX = 4096, 64 * 1024
FLOWING = 1024
"""A read of at least so many bytes is followed by another at once: there is probably more."""

BURST = 16
"""Reads in a row before other tasks get their turn."""

TORN_SECONDS = 0.02
"""How long the rest of a character is waited for before its beginning is given out."""

REST_MAX = 1024 * 1024
"""The most that is taken from one descriptor after the program's end: what the largest pipe can hold."""

_TIOCGPTPEER = 0x5441
_LFLAG, _CC = 3, 6


class Program:
    """One process of a box and its descriptors. Its tasks run in `nursery`, which is cancelled before `close`.

    `drained` is set when all output descriptors have come to their end; `terminal` is as Process.terminal.
    """

    def __init__(self, process: Process, feed: Feed, nursery: trio.Nursery) -> None:
        self.process = process
        self.drained = trio.Event()
        self._feed, self._nursery = feed, nursery
        self._terminal = process.mode != "pipes"
        self.terminal = process.terminal
        self._queue = bytearray()
        self._taken = trio.lowlevel.ParkingLot()
        self._last = b"\n"
        self._closing_input = self._closed_input = False
        self._open = [fd for _, fd in process.outputs]
        self._over = False
        self._echo = _Echo(process.stdin) if process.mode == "terminal" else None
        for channel, fd in process.outputs:
            nursery.start_soon(self._pump, channel, fd)

    # --- output ------------------------------------------------------------------------------------------------

    async def _pump(self, channel: OutputChannel, fd: int) -> None:
        feed, size = self._feed, READ_MIN
        while True:
            if not feed.log.holds(channel):
                await trio.lowlevel.wait_readable(fd)
            else:
                with trio.move_on_after(TORN_SECONDS) as patience:
                    await trio.lowlevel.wait_readable(fd)
                if patience.cancelled_caught:
                    feed.flush(channel)
                    continue
            if self._over:
                return
            for _ in range(BURST):
                count = self._read(channel, fd, size)
                if count == 0:
                    self._open.remove(fd)
                    if not self._open:
                        self.drained.set()
                    return
                if count == size:
                    size = min(size * 4, READ_MAX)
                elif count < FLOWING:
                    size = READ_MIN
                    break
                if feed.stalled:
                    await feed.room()
                    break

    def _read(self, channel: OutputChannel, fd: int, size: int, reader: Viewer | None = None) -> int:
        """Read once without waiting and log it: the number of bytes, 0 at the end, -1 when there is nothing yet."""
        try:
            data = os.read(fd, size)
        except BlockingIOError:
            return -1
        except OSError:  # EIO: nobody has the terminal open any more
            return 0
        if data:
            self._feed.append(channel, data, reader)
        return len(data)

    def settle(self) -> bool:
        """Log what the program has written up to now, though its descriptors do not show it yet.

        A read of a terminal that finds nothing has let the kernel deliver everything first. False when there is too
        much of it, or nobody reads it at the moment.
        """
        return not (self._feed.stalled or self._over) and all(
            fd not in self._open or any(self._read(channel, fd, READ_MAX) <= 0 for _ in range(BURST))
            for channel, fd in self.process.outputs
        )

    def take_rest(self) -> None:
        """After the program's end: log all that it has written and nobody has read yet. Does not wait. Nothing is read
        any more then, of which the first call makes sure."""
        if self._over:
            return
        self._over = True  # and so the tasks that read stop, when they have their next turn
        for channel, fd in self.process.outputs:
            if fd in self._open:
                taken = 0
                while taken < REST_MAX and (count := self._read(channel, fd, READ_MAX)) > 0:
                    taken += count
            self._feed.flush(channel)

    # --- input -------------------------------------------------------------------------------------------------

    def write(self, data: bytes, reader: Viewer | None = None, *, bounded: bool = True) -> None:
        """Give the program input: at once where it has room, else as soon as it reads. Never waits.

        What the terminal has echoed already is logged before this returns; `reader` is not woken for it, since its
        owner is going to poll it. Raises BadRequest (`input_overflow`, `input_closed`), having taken nothing.
        """
        if self._closing_input:
            raise BadRequest("the program's input has been closed", code="input_closed")
        if bounded and len(self._queue) + len(data) > INPUT_MAX:
            raise BadRequest(
                f"the program has not read its last {len(self._queue)} bytes of input, and {INPUT_MAX} can wait",
                code="input_overflow",
                hint="send less at a time, or wait until the program reads",
            )
        self._put(data)
        if self._echo is not None and not self._feed.stalled:
            self._echo.settle()
            self._read("stdout", self.process.stdin, READ_MIN, reader)

    async def room(self) -> None:
        """Wait until half of what may wait for the program is free, or it has ended."""
        while len(self._queue) > INPUT_MAX // 2:
            await self._taken.park()

    def close_input(self) -> None:
        """The program sees the end of its input after all that was written. Twice is no error."""
        if not self._closing_input:
            self._closing_input = True
            if not self._queue:
                self._end_input()

    def remind(self) -> bool:
        """The program waits for input again: when that was closed, end it again, since a terminal's end does not stick.

        Only where the terminal is in canonical mode; elsewhere VEOF is a key like any other. True when it was done.
        """
        if not self._closed_input or self._queue:
            return False
        canonical, veof = self._line_discipline()
        if canonical and veof:
            self._put(veof)
        return canonical

    def _end_input(self) -> None:
        self._closed_input = True
        if not self._terminal:
            self.process.close_stdin()
            return
        canonical, veof = self._line_discipline()
        # In the middle of a line the first VEOF only delivers what is there.
        self._put(veof * 2 if canonical and self._last not in b"\r\n" + veof else veof)

    def interrupts(self, key: bytes) -> bool:
        """Whether the terminal makes a signal of this key."""
        if not self._terminal:
            return False
        try:
            attributes = termios.tcgetattr(self.process.stdin)
        except termios.error:
            return False
        return bool(attributes[_LFLAG] & termios.ISIG) and attributes[_CC][termios.VINTR] == key

    def _line_discipline(self) -> tuple[bool, bytes]:
        """Whether the terminal is in canonical mode, and its VEOF (empty when it has none)."""
        try:
            attributes = termios.tcgetattr(self.process.stdin)
        except termios.error:
            return False, b""
        veof = attributes[_CC][termios.VEOF]
        return bool(attributes[_LFLAG] & termios.ICANON), veof.strip(b"\0")

    def _put(self, data: bytes) -> None:
        if not data:
            return
        self._last = data[-1:]
        if self._queue:
            self._queue += data
        elif (count := self._send(data)) < len(data):
            self._queue += data[count:] if count else data
            self._nursery.start_soon(self._send_queue)

    def _send(self, data: bytes) -> int:
        """Write without waiting; the number of bytes taken. Input that nobody can read any more is thrown away."""
        try:
            return os.write(self.process.stdin, data)
        except BlockingIOError:
            return 0
        except OSError as problem:
            if problem.errno not in (errno.EPIPE, errno.EIO):
                raise
            return len(data)

    async def _send_queue(self) -> None:
        while self._queue:
            await trio.lowlevel.wait_writable(self.process.stdin)
            del self._queue[: self._send(bytes(self._queue[:READ_MAX]))]
            self._taken.unpark_all()
        if self._closing_input and not self._closed_input:
            self._end_input()

    # --- the rest ----------------------------------------------------------------------------------------------

    def resize(self, window: Window) -> None:
        self.process.resize(window)

    def leave(self) -> None:
        """Forget input that was not taken. The process and its descriptors stay as they are."""
        self._queue.clear()
        self._taken.unpark_all()
        if self._echo is not None:
            self._echo.close()

    def close(self) -> None:
        self.leave()
        self.process.close()


def open_peer(master: int) -> int:
    """A terminal's other end, opened from its master without any path, non-blocking; -1 when it has been hung up."""
    try:
        return fcntl.ioctl(master, _TIOCGPTPEER, os.O_RDWR | os.O_NOCTTY | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return -1


class _Echo:
    """Makes the line discipline echo what was just written to the master, before the master is read.

    Input reaches the line discipline by a worker of the kernel, which may take a while to run; a poll of the terminal's
    other end waits until that worker has finished.
    """

    def __init__(self, master: int) -> None:
        self._peer = open_peer(master)
        if self._peer >= 0:
            self._poll = select.poll()
            self._poll.register(self._peer, select.POLLPRI)

    def settle(self) -> None:
        if self._peer >= 0:
            self._poll.poll(0)

    def close(self) -> None:
        if self._peer >= 0:
            os.close(self._peer)
