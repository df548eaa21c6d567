"""Types at a command on a real terminal and reads what it shows, as a person would."""

import fcntl
import os
import pty
import re
import select
import signal
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

PATIENCE = 30.0
"""Seconds for anything to show up, on however busy a machine."""

RUNNERD = Path(sys.executable).with_name("runnerd")


class Typist:
    """A command on a terminal of its own, and everything it has shown so far."""

    def __init__(self, argv: list[str | Path], state: Path) -> None:
        self._master, slave = pty.openpty()
        self.resize(24, 80)
        self.before = termios.tcgetattr(slave)
        self._slave = slave
        self.shown = ""
        self._seen = 0
        # Not a group's leader, setsid becomes the command itself: its pid is the command's.
        self.process = subprocess.Popen(
            ["setsid", "--ctty", *argv],
            stdin=slave,
            stdout=slave,
            stderr=slave,
            env={**os.environ, "TERM": "xterm-256color", "XDG_STATE_HOME": str(state)},
        )

    def resize(self, rows: int, cols: int) -> None:
        """The kernel tells the foreground programs by SIGWINCH."""
        fcntl.ioctl(self._master, termios.TIOCSWINSZ, struct.pack("=4H", rows, cols, 0, 0))

    def type(self, text: str) -> None:
        data = text.encode()
        while data:
            data = data[os.write(self._master, data) :]

    def expect(self, pattern: str) -> re.Match[str]:
        """Wait until something new matches; what comes after it is new for the next call."""
        deadline = time.monotonic() + PATIENCE
        while True:
            if match := re.compile(pattern).search(self.shown, self._seen):
                self._seen = match.end()
                return match
            left = deadline - time.monotonic()
            assert left > 0, f"{pattern!r} did not show up in {self.shown[self._seen :]!r}"
            if select.select([self._master], [], [], left)[0]:
                self.shown += os.read(self._master, 65536).decode("utf-8", "replace")

    def status(self) -> int:
        """The command's exit status, once it has ended by itself."""
        deadline = time.monotonic() + PATIENCE
        while (status := self.process.poll()) is None:
            assert time.monotonic() < deadline, f"it has not ended: {self.shown[self._seen :]!r}"
            if select.select([self._master], [], [], 0.02)[0]:
                self.shown += os.read(self._master, 65536).decode("utf-8", "replace")
        return status

    def modes(self) -> list[Any]:
        """The terminal's attributes as they are now."""
        return termios.tcgetattr(self._slave)

    def close(self) -> None:
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGKILL)
        os.close(self._master)
        os.close(self._slave)
        self.process.wait(PATIENCE)


@contextmanager
def at_terminal(state: Path, *argv: str | Path) -> Generator[Typist]:
    """`runnerd ARGV` on a terminal."""
    typist = Typist([RUNNERD, *argv], state)
    try:
        yield typist
    finally:
        typist.close()
