"""A box by bubblewrap alone, for what is looked at from outside: namespaces and tmpfs mounts, no init and no filter."""

import ctypes
import fcntl
import json
import os
import pty
import select
import signal
import socket
import subprocess
import termios
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from runnerd.sandbox.handles import Handles

PATIENCE = 30.0
_NEW_NETWORK = 0x40000000
_SOCK_DIAG = 4


class PlainBox:
    """`handles` are what init would pass out; `master` is the terminal's, or -1; bubblewrap's reaper is the box's pid 1."""

    def __init__(self, process: "subprocess.Popen[bytes]", master: int, handles: Handles) -> None:
        self.process, self.master, self.handles = process, master, handles
        self._seen = b""

    def read_until(self, wanted: bytes) -> None:
        deadline = time.monotonic() + PATIENCE
        source = self.master if self.master >= 0 else self.process.stdout.fileno()  # type: ignore[union-attr]
        while wanted not in self._seen:
            ready, _, _ = select.select([source], [], [], max(0.0, deadline - time.monotonic()))
            assert ready, f"{wanted!r} did not come, but {self._seen!r}"
            data = os.read(source, 65536)
            assert data, f"the program ended before {wanted!r}: {self._seen!r}"
            self._seen += data
        self._seen = self._seen.partition(wanted)[2]

    def type(self, text: bytes) -> None:
        os.write(self.master, text)


@contextmanager
def plain_box(argv: Sequence[str], *, terminal: bool = False, size: str = "256000000") -> Iterator[PlainBox]:
    """Run argv in a box: on a terminal, or with its output on a pipe. All of it is dead when the block ends."""
    told, tell = os.pipe()
    master, slave = pty.openpty() if terminal else (-1, -1)
    mounts = [word for place in ("/work", "/tmp", "/dev/shm") for word in ("--size", size, "--tmpfs", place)]
    process = subprocess.Popen(
        ["bwrap", "--unshare-all", "--die-with-parent", "--info-fd", str(tell), "--ro-bind", "/", "/"]
        + ["--dev", "/dev", "--proc", "/proc", *mounts, "--chdir", "/work", "--", *argv],
        pass_fds=[tell],
        stdin=slave if terminal else subprocess.DEVNULL,
        stdout=slave if terminal else subprocess.PIPE,
        stderr=slave if terminal else None,
        start_new_session=True,
        preexec_fn=(lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0)) if terminal else None,  # noqa: PLW1509
        env={"PATH": "/usr/bin:/bin", "TERM": "xterm", "HOME": "/work", "LANG": "C.UTF-8"},
    )
    os.close(tell)
    if terminal:
        os.close(slave)
    handles = None
    try:
        with open(told, "rb") as info:
            init = json.load(info)["child-pid"]
        _wait_for_mounts(init)
        handles = _handles(init)
        yield PlainBox(process, master, handles)
    finally:
        with socket.socket():  # nothing is printed by a box that is killed
            os.kill(process.pid, signal.SIGKILL)
        process.wait()
        if process.stdout is not None:
            process.stdout.close()
        if master >= 0:
            os.close(master)
        if handles is not None:
            _wait_until_gone(handles)
            handles.close()
