"""A box by bubblewrap alone, for what is looked at from outside: namespaces and tmpfs mounts, no init and no filter."""

import errno
import json
import os
import pty
import select
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Generator, Sequence
from contextlib import ExitStack, contextmanager, suppress

from runnerd import toolchains
from runnerd.sandbox.handles import Handles

PATIENCE = 30.0

BINDS = tuple(bind for toolchain in toolchains.load().all() for bind in toolchain.binds)
"""What toolchains have that is not Debian's: source on the host, target in a box."""

_LAUNCHER = """
import fcntl, os, socket, sys, termios
fd, terminal, argv = int(sys.argv[1]), sys.argv[2] == "1", sys.argv[3:]
fds = [os.open(path, os.O_PATH | os.O_DIRECTORY) for path in ("/proc", "/work", "/tmp", "/dev/shm")]
diag = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 4)
with socket.socket(fileno=fd) as there:
    socket.send_fds(there, [b"x"], [*fds, diag.fileno()])
diag.close()
for fd in fds:
    os.close(fd)
if terminal:
    os.setsid()
    fcntl.ioctl(0, termios.TIOCSCTTY, 1)
os.execvp(argv[0], argv)
"""


class PlainBox:
    """`master` is the program's terminal, or -1 when its output goes to a pipe. Pid 1 is bubblewrap's own.

    `end` kills all of it and waits until it is gone.
    """

    def __init__(self, source: int, master: int, handles: Handles, end: Callable[[], None]) -> None:
        self._source, self.master, self.handles, self.end = source, master, handles, end
        self._seen = b""

    def read_until(self, wanted: bytes) -> None:
        deadline = time.monotonic() + PATIENCE
        while wanted not in self._seen:
            ready, _, _ = select.select([self._source], [], [], max(0.0, deadline - time.monotonic()))
            assert ready, f"{wanted!r} did not come, but {self._seen!r}"
            try:
                data = os.read(self._source, 65536)
            except OSError as problem:  # what a terminal says once nobody has it
                assert problem.errno == errno.EIO
                data = b""
            assert data, f"the program ended before {wanted!r}: {self._seen!r}"
            self._seen += data
        self._seen = self._seen.partition(wanted)[2]

    def type(self, text: bytes) -> None:
        os.write(self.master, text)


@contextmanager
def plain_box(argv: Sequence[str], *, terminal: bool = False, size: int = 256_000_000) -> Generator[PlainBox]:
    """Run argv in a box: on a terminal, or with its output on a pipe. All of it is dead when the block ends."""
    with ExitStack() as stack:
        here, there = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        stack.enter_context(here)
        told, tell = os.pipe()
        master, slave = pty.openpty() if terminal else os.pipe()
        stack.callback(os.close, master)
        mounts = [word for place in ("/work", "/tmp", "/dev/shm") for word in ("--size", str(size), "--tmpfs", place)]
        system = [word for place in ("/usr", "/etc") for word in ("--ro-bind-try", place, place)]
        system += [word for bind in BINDS for word in ("--ro-bind", *bind)]
        system += [word for name in ("bin", "lib", "lib64") for word in ("--symlink", f"usr/{name}", f"/{name}")]
        process = subprocess.Popen(
            [
                *("bwrap", "--unshare-all", "--die-with-parent", "--info-fd", str(tell)),
                *(*system, "--dev", "/dev", "--proc", "/proc", *mounts, "--chdir", "/work", "--"),
                *("python3", "-ISc", _LAUNCHER, str(there.fileno()), str(int(terminal)), *argv),
            ],
            pass_fds=[tell, there.fileno()],
            stdin=slave if terminal else subprocess.DEVNULL,
            stdout=slave,
            stderr=slave if terminal else None,
            env={"PATH": "/usr/bin:/bin", "TERM": "xterm", "HOME": "/work", "LANG": "C.UTF-8", "PS1": "$ "},
        )
        stack.callback(process.wait)
        stack.callback(process.kill)
        there.close()
        os.close(tell)
        os.close(slave)
        with open(told, "rb") as info:
            init = json.load(info)["child-pid"]
        pidfd = os.pidfd_open(init)
        stack.callback(os.close, pidfd)

        def end() -> None:
            with suppress(ProcessLookupError):
                signal.pidfd_send_signal(pidfd, signal.SIGKILL)
            process.wait()  # bubblewrap ends once it has reaped its child, and that goes last

        stack.callback(end)
        _, fds, _, _ = socket.recv_fds(here, 1, 5)
        handles = Handles(*fds, init=init)
        stack.callback(handles.close)
        yield PlainBox(master, master if terminal else -1, handles, end)
