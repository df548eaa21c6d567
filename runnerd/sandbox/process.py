"""A program in a box and the descriptors that came with it."""

import fcntl
import os
import stat
import struct
import termios
from collections.abc import Sequence
from typing import Literal

import trio

from runnerd.sandbox.spec import Exit, Mode, Window

Output = tuple[Literal["stdout", "stderr"], int]
Kind = Literal["terminal", "pipe", "socket", "file"]

DESCRIPTORS: dict[Mode, tuple[Kind, ...]] = {
    "terminal": ("terminal",),
    "split": ("terminal", "terminal"),
    "pipes": ("pipe", "pipe", "pipe"),
}
"""What init passes out for a program. terminal: its terminal; split: stdin with stdout, stderr; pipes: 0, 1, 2."""

_TIOCGPTN, _PTS_MAJOR = 0x80045430, 136


def is_kind(kind: Kind, fd: int) -> bool:
    """Whether a descriptor that came out of a box is what it should be; a folder counts as a file."""
    mode = os.fstat(fd).st_mode
    match kind:
        case "terminal":
            return os.isatty(fd)
        case "pipe":
            return stat.S_ISFIFO(mode)
        case "socket":
            return stat.S_ISSOCK(mode)
        case "file":
            return stat.S_ISREG(mode) or stat.S_ISDIR(mode)


class Process:
    """A program in a box. Its descriptors are non-blocking and belong to it until `close`."""

    def __init__(self, tag: int, pid: int, mode: Mode, fds: Sequence[int]) -> None:
        self.tag, self.pid, self.mode = tag, pid, mode
        self.stdin = fds[0]
        self.outputs: tuple[Output, ...]
        match mode:
            case "terminal":
                self.outputs = (("stdout", fds[0]),)
            case "split":
                self.outputs = (("stdout", fds[0]), ("stderr", fds[1]))
            case "pipes":
                self.outputs = (("stdout", fds[1]), ("stderr", fds[2]))
        self._open = set(fds)
        self.exited = trio.Event()
        self.exit: Exit | None = None

    @property
    def terminal(self) -> int | None:
        """The device number, as its processes know it, of the terminal that it has its input from; None for pipes."""
        if self.mode == "pipes" or self.stdin not in self._open:
            return None
        (number,) = struct.unpack("I", fcntl.ioctl(self.stdin, _TIOCGPTN, bytes(4)))
        return os.makedev(_PTS_MAJOR, number)

    def resize(self, window: Window) -> None:
        """Tell the terminals their new size; the foreground programs get SIGWINCH. Nothing to do for pipes."""
        if self.mode != "pipes":
            for _, fd in self.outputs:
                if fd in self._open:
                    fcntl.ioctl(fd, termios.TIOCSWINSZ, struct.pack("=4H", window.rows, window.cols, 0, 0))

    def close_stdin(self) -> None:
        """Close a pipe's write end. A terminal's input ends by its VEOF character instead."""
        if self.mode == "pipes":
            self._close(self.stdin)

    def close(self) -> None:
        for fd in tuple(self._open):
            self._close(fd)

    def _close(self, fd: int) -> None:
        if fd in self._open:
            self._open.remove(fd)
            trio.lowlevel.notify_closing(fd)
            os.close(fd)
