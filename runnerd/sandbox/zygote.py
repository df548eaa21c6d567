"""Zygotes: the very program of a run, started ahead of it, which waits just before it looks at its source.

It is started as it would be by the run, on the same terminal or pipes, but for one more descriptor, 60: a socket. There
it says that it waits (one byte), is told to go on (one packet of NUL-terminated strings: the number of further
arguments, the arguments, then NAME=VALUE of each further variable), and says that it does (one byte). The socket's end
tells it to end.
"""

import os
import socket
from collections.abc import Mapping, Sequence

import trio

from runnerd.errors import BoxError
from runnerd.sandbox.process import Process
from runnerd.sandbox.spec import Launch

WAIT_SECONDS = 20.0
"""A zygote that does not wait by then never will."""

MESSAGE_MAX = 128 * 1024
"""Bytes of arguments and variables that fit into one packet."""


class Zygote:
    """One waiting program. `go` at most once; then it is `process` that matters. `close` closes the socket."""

    def __init__(self, launch: Launch, process: Process, sock: socket.socket) -> None:
        self.launch, self.process = launch, process
        self._socket = sock

    async def ready(self) -> None:
        """Wait until it waits. Raises BoxError when it does not."""
        with trio.move_on_after(WAIT_SECONDS):
            await trio.lowlevel.wait_readable(self._socket)
            if self._socket.recv(1):
                return
            raise BoxError(f"{self.launch.argv[0]} ended, and should wait to be used")
        raise BoxError(f"{self.launch.argv[0]} does not wait to be used after {WAIT_SECONDS:g} s")

    def waits(self) -> bool:
        """Whether it is there at this moment, looked up anew."""
        if self.process.exited.is_set():
            return False
        try:
            return bool(self._socket.recv(1, socket.MSG_PEEK))
        except BlockingIOError:
            return True
        except OSError:
            return False

    def go(self, args: Sequence[str], env: Mapping[str, str]) -> bool:
        """Let it run, with `args` after its own and the variables of `env` set. False when it is gone."""
        words = [str(len(args)), *args, *(f"{name}={value}" for name, value in env.items())]
        try:
            self._socket.send(b"".join(os.fsencode(word) + b"\0" for word in words))
        except OSError:
            return False
        return True

    def went(self) -> bool:
        """After `go` and the end of its process: whether it had gone on. If not, nothing of the run has happened."""
        try:
            return bool(self._socket.recv(1))
        except OSError:
            return False

    def close(self) -> None:
        self._socket.close()


def fits(args: Sequence[str], env: Mapping[str, str]) -> bool:
    """Whether `go` can tell so much."""
    return sum(len(os.fsencode(word)) + 2 for pair in (args, env, env.values()) for word in pair) < MESSAGE_MAX - 16


def socketpair() -> tuple[socket.socket, socket.socket]:
    """Our end, non-blocking, and the program's."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    ours.setblocking(False)
    ours.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 2 * MESSAGE_MAX)
    return ours, theirs
