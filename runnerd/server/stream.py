"""The stream that every server on a connection reads and writes: replays the head, and gives up on stuck peers."""

import os
import socket
from collections.abc import Awaitable, Callable

import trio
from trio.abc import HalfCloseableStream

from runnerd.server.asked import Asked, new_id
from runnerd.server.forwarded import UNIX, canonical

CHUNK = 65536
SEND_BUFFER = 64 * 1024
"""Bytes of what the kernel holds for a peer, sent and not; it takes twice as much for its own accounts."""
UNSENT = 4 * 1024
"""Bytes not sent yet beyond which it takes no more."""
LINGER = 2.0
"""Seconds that a refused client has to read why, while what it still sends is thrown away."""


class ConnectionStream(HalfCloseableStream):
    """A socket stream whose first bytes were read already.

    trio has set TCP_NODELAY and a TCP_NOTSENT_LOWAT of 16 KiB: the kernel takes little beyond what is under way, so
    that output does not grow old in its buffers.

    Hypercorn shields its sends and trio-websocket has no limit on them, so the deadline lives here: when a peer takes
    nothing for `send_deadline` seconds, the stream closes and the send raises trio.BrokenResourceError.


    `peer` is the address of who connected, or of whom a trusted proxy's header names; `asked` tells of the request
    under way.
    """

    def __init__(self, stream: trio.SocketStream, *, send_deadline: float) -> None:
        self._stream = stream
        self._send_deadline = send_deadline
        self._replay = b""
        self._sending = False
        self.socket = stream.socket
        self.peer = _peer(stream.socket)
        self.asked = Asked(new_id(), self.peer)

    def replay(self, data: bytes) -> None:
        """Have `data` received before anything that the peer sends from now on."""
        self._replay = data + self._replay

    async def receive_some(self, max_bytes: int | None = None) -> bytes:
        if self._replay:
            await trio.lowlevel.checkpoint()
            size = max_bytes or CHUNK
            data, self._replay = self._replay[:size], self._replay[size:]
            return data
        return bytes(await self._stream.receive_some(max_bytes or CHUNK))

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        rest = memoryview(data)
        if not self._sending:
            # Both callers have just passed a checkpoint for their lock; a second one would be part of every echo.
            rest = rest[self._send_now(rest[:CHUNK]) :]
        self._sending = True
        try:
            while rest:
                await self._within_deadline(self._stream.send_all, rest[:CHUNK])
                rest = rest[CHUNK:]
        finally:
            self._sending = False

    def _send_now(self, data: memoryview) -> int:
        """Bytes that the kernel took at once."""
        descriptor = self.socket.fileno()
        if descriptor < 0:
            raise trio.ClosedResourceError("this connection was closed")
        try:
            return os.write(descriptor, data)
        except BlockingIOError:
            return 0
        except OSError as problem:
            raise trio.BrokenResourceError(f"the connection broke: {problem}") from problem

    async def wait_send_all_might_not_block(self) -> None:
        await self._within_deadline(self._stream.wait_send_all_might_not_block)

    async def _within_deadline(self, do: Callable[..., Awaitable[None]], *args: object) -> None:
        with trio.move_on_after(self._send_deadline) as scope:
            await do(*args)
        if scope.cancelled_caught:
            self.abort()
            raise trio.BrokenResourceError(f"the peer took nothing for {self._send_deadline:g} s")

    async def send_eof(self) -> None:
        await self._stream.send_eof()

    async def aclose(self) -> None:
        await self._stream.aclose()

    def keep_little_unsent(self) -> None:
        """What the kernel holds cannot be overtaken, so it shall hold little: for a slow link that would be seconds."""
        if self.socket.family != socket.AF_UNIX:
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SEND_BUFFER)
            self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT, UNSENT)

    def abort(self) -> None:
        """Close at once; what was not sent yet is dropped."""
        self.socket.close()

    async def linger(self) -> None:
        """Say that nothing more comes, and let the peer read it: closing beside unread input would reset the
        connection and could destroy the answer."""
        with trio.move_on_after(LINGER):
            try:
                await self.send_eof()
                while await self._stream.receive_some(CHUNK):
                    pass
            except (trio.BrokenResourceError, trio.ClosedResourceError, trio.BusyResourceError, OSError):
                return


def _peer(connected: trio.socket.SocketType) -> str:
    if connected.family == socket.AF_UNIX:
        return UNIX
    try:
        return canonical(connected.getpeername()[0])
    except OSError:
        return ""  # it has gone already
