"""Zygotes: the very program of a run, started ahead of it, which waits just before it looks at its source.

It is started as it would be by the run, on the same terminal or pipes, but for one more descriptor, 60: a socket. There
it says that it waits (one byte, "w" when it will also write its file), is told to go on (one packet: the number of
further arguments, the arguments, NAME=VALUE of each further variable, all with a NUL at their ends), and says that it
does (one byte). The socket's end tells it to end.

A file to write follows in the same packet, which saves waiting for init to write it: its path is the last string, then
come its bytes, and ":SIZE" stands behind the number of arguments.
"""

import os
import socket
from collections.abc import Mapping, Sequence
from contextlib import suppress

import trio

from runnerd.errors import BoxError
from runnerd.sandbox.process import Process
from runnerd.sandbox.spec import Launch

WAIT_SECONDS = 20.0
"""A zygote that does not wait by then never will."""

MESSAGE_MAX = 128 * 1024
"""Bytes of arguments and variables that fit into one packet."""

FILE_MAX = 64 * 1024
"""Bytes of a file that comes along with them."""


class Zygote:
    """One waiting program. `go` at most once; then it is `process` that matters. `close` closes the socket."""

    def __init__(self, launch: Launch, process: Process, sock: socket.socket) -> None:
        self.launch, self.process = launch, process
        self._socket = sock
        self._writes = self._went = False

    async def ready(self) -> None:
        """Wait until it waits. Raises BoxError when it does not."""
        with trio.move_on_after(WAIT_SECONDS):
            await trio.lowlevel.wait_readable(self._socket)
            if said := self._socket.recv(1):
                self._writes = said == b"w"
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

    def writes(self, files: Mapping[str, bytes]) -> bool:
        """Whether `go` can bring these: a single file that is not large."""
        return self._writes and len(files) == 1 and sum(map(len, files.values())) <= FILE_MAX

    def go(self, args: Sequence[str], env: Mapping[str, str], file: tuple[str, bytes] | None = None) -> bool:
        """Let it run, with `args` after its own and the variables of `env` set, and `file` written (path, content) if
        it can. False when it is gone."""
        words = [str(len(args)), *args, *(f"{name}={value}" for name, value in env.items())]
        data = b""
        if file is not None:
            path, data = file
            words = [f"{words[0]}:{len(data)}", *words[1:], path]
        try:
            self._socket.send(b"".join(os.fsencode(word) + b"\0" for word in words) + data)
        except OSError:
            return False
        return True

    def went(self) -> bool:
        """After `go` and the end of its process: whether it had gone on. If not, nothing of the run has happened."""
        with suppress(OSError):
            self._went = self._went or bool(self._socket.recv(1))
        return self._went

    def close(self) -> None:
        """What it has said is still known."""
        self.went()
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
