"""Listening sockets that the service manager holds and passes on (LISTEN_FDS): they outlive this daemon."""

import os
import socket
from pathlib import Path

from runnerd.errors import SetupError
from runnerd.server.address import Address, TcpAddress, UnixAddress

FIRST = 3
"""The first passed descriptor, as sd_listen_fds(3) has it."""


def inherited() -> list[socket.socket]:
    """The sockets that were passed to this process; none when it was not started by one. Call once.

    Raises SetupError for a descriptor that is not a listening stream socket.
    """
    pid, count = (os.environ.pop(name, "") for name in ("LISTEN_PID", "LISTEN_FDS"))
    os.environ.pop("LISTEN_FDNAMES", None)
    if pid != str(os.getpid()) or not count.isdigit():
        return []
    return [_listening(FIRST + number) for number in range(int(count))]


def address_of(listening: socket.socket) -> Address:
    """Where a passed socket listens."""
    name = listening.getsockname()
    if listening.family == socket.AF_UNIX:
        return UnixAddress(Path(os.fsdecode(name)))
    return TcpAddress(name[0], name[1])


def _listening(descriptor: int) -> socket.socket:
    try:
        os.set_inheritable(descriptor, False)
        passed = socket.socket(fileno=descriptor)
        good = passed.type == socket.SOCK_STREAM and passed.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN) == 1
    except OSError as problem:
        raise SetupError(
            f"taking over descriptor {descriptor} from the service manager: {problem.strerror} (errno {problem.errno})"
        ) from problem
    if not good:
        raise SetupError(
            f"descriptor {descriptor} from the service manager is not a listening stream socket",
            hint="in the socket unit: ListenStream=, and not Accept=yes",
        )
    return passed
