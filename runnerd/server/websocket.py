"""WebSocket connections: the only importer of trio-websocket, which has no time limits of its own.

Two of its inner ways are cut short, since every key takes them: a message goes to its hearer in the task that read it,
without a channel between two tasks, and a lock that is free is taken without a turn of the event loop.
"""

# The library is pinned; tests/server/test_websocket.py says what of it is relied on here.
# pyright: reportPrivateUsage=false

import logging
from collections.abc import Awaitable, Callable
from contextvars import Context, copy_context

import msgspec
import trio
import wsproto
from trio_websocket import ConnectionClosed, HandshakeError, WebSocketConnection

from runnerd.errors import BadRequest
from runnerd.protocols import Frame
from runnerd.server.head import Head
from runnerd.server.stream import ConnectionStream

log = logging.getLogger("runnerd.server.websocket")

HANDSHAKE_TIMEOUT = 10.0
CLOSE_TIMEOUT = 3.0
NORMAL, GOING_AWAY = 1000, 1001
VIOLATIONS = (1002, 1007)
BURST = 16
"""Messages that are heard in a row before other tasks get their turn."""

Hear = Callable[[Frame], Awaitable[bool]]
"""Takes one message; False when it wants no more."""


class Keepalive(msgspec.Struct, frozen=True):
    """Seconds between pings, and that a pong may take. The largest message is in bytes (characters of text)."""

    interval: float = 20.0
    pong_deadline: float = 20.0
    message_size: int = 16 * 1024 * 1024


class WebSocketTransport:
    """One accepted connection, as conversations see it. Frames are sent in the order of the calls."""

    def __init__(self, connection: "_Connection") -> None:
        self._connection = connection

    async def listen(self, hear: Hear) -> None:
        """Give each message in turn to `hear`, until it wants no more or the connection is over. Raises what it raises.

        The next message is read when it returns, and it is called in another task.
        """
        await self._connection.ear.listen(hear)

    async def send(self, frame: Frame) -> None:
        """Send one message. A closed connection swallows it: `listen` ends by itself."""
        try:
            await self._connection.send_message(frame)
        except ConnectionClosed:
            return

    async def room(self) -> None:
        """Wait until what was sent is on its way, so that the next frame is of what is known then."""
        try:
            await self._connection.drain()
        except ConnectionClosed:
            return

    async def close(self, code: int, reason: str) -> None:
        """Say why, and wait a little for the client's answer."""
        with trio.move_on_after(CLOSE_TIMEOUT):
            await self._connection.aclose(code, _short(reason))


class _Ear:
    """What the reader's task has in place of its end of a channel. `over`: nobody hears any more, or nothing comes."""

    def __init__(self) -> None:
        self._hear: Hear | None = None
        self._context = Context()
        self._there = trio.Event()
        self._over = trio.Event()
        self._problem: Exception | None = None
        self._count = 0

    async def listen(self, hear: Hear) -> None:
        self._hear, self._context = hear, copy_context()
        self._there.set()
        try:
            await self._over.wait()
        finally:
            self._over.set()
        if self._problem is not None:
            raise self._problem

    async def send(self, message: Frame) -> None:
        if not self._count:
            await self._there.wait()
            for variable, value in self._context.items():  # so that the log names the hearer's key and address
                variable.set(value)
        if self._over.is_set() or self._hear is None:
            return
        try:
            more = await self._hear(message)
        except Exception as problem:
            self._problem, more = problem, False
        if not more:
            self._over.set()
        self._count += 1
        if self._count % BURST == 0:
            await trio.lowlevel.checkpoint()

    async def aclose(self) -> None:
        self._over.set()
        self._there.set()

    async def __aenter__(self) -> "_Ear":
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()


class _Connection(WebSocketConnection):
    def __init__(self, stream: trio.abc.Stream, message_size: int) -> None:
        super().__init__(
            stream,
            wsproto.WSConnection(wsproto.ConnectionType.SERVER),
            max_message_size=message_size,
            receive_buffer_size=None,
        )
        self.ear = _Ear()
        self._send_channel = self.ear  # pyright: ignore[reportAttributeAccessIssue]

    async def _send(self, event: wsproto.events.Event) -> None:
        await self._in_turn(self._stream.send_all, self._wsproto.send(event))

    async def drain(self) -> None:
        await self._in_turn(self._stream.wait_send_all_might_not_block)

    async def _in_turn(self, do: Callable[..., Awaitable[None]], *args: object) -> None:
        try:
            self._stream_lock.acquire_nowait()
        except trio.WouldBlock:
            await self._stream_lock.acquire()
        try:
            await do(*args)
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            await self._abort_web_socket()
            assert self._close_reason is not None
            raise ConnectionClosed(self._close_reason) from None
        finally:
            self._stream_lock.release()


class _Borrowed(trio.abc.Stream):
    """The stream as the library sees it: its owner closes it, after the last frame."""

    def __init__(self, stream: ConnectionStream) -> None:
        self._stream = stream

    async def receive_some(self, max_bytes: int | None = None) -> bytes | bytearray:
        return await self._stream.receive_some(max_bytes)

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        await self._stream.send_all(data)

    async def wait_send_all_might_not_block(self) -> None:
        await self._stream.wait_send_all_might_not_block()

    async def aclose(self) -> None:
        await trio.lowlevel.checkpoint()


def choose_subprotocol(offered: list[str], known: tuple[str, ...]) -> str | None:
    """The first known one that the client offers; None when it offers none. Raises BadRequest when all are unknown."""
    for each in offered:
        if each in known:
            return each
    if offered:
        raise BadRequest(
            f"none of the subprotocols {', '.join(offered)!r} is spoken here",
            hint=f"ask for {' or '.join(known)}",
            code="unknown_subprotocol",
        )
    return None


async def serve_websocket(
    stream: ConnectionStream,
    head: Head,
    settings: Keepalive,
    subprotocols: tuple[str, ...],
    converse: Callable[[WebSocketTransport], Awaitable[None]],
) -> None:
    """Accept the handshake that `stream` replays and run `converse` until it returns or is cancelled; then close.

    Raises BadRequest before anything was sent when the handshake is wrong. A client that vanishes, answers no ping or
    takes no output ends the connection: `receive` gives None.
    """
    head.check_handshake()
    subprotocol = choose_subprotocol(head.words("sec-websocket-protocol"), subprotocols)
    stream.keep_little_unsent()
    async with trio.open_nursery() as nursery:
        connection = await _accept(nursery, stream, settings, subprotocol)
        if connection is None:
            nursery.cancel_scope.cancel()
            return
        nursery.start_soon(_keep_alive, connection, stream, settings)
        transport = WebSocketTransport(connection)
        code = GOING_AWAY
        try:
            await converse(transport)
            code = NORMAL
        finally:
            with trio.CancelScope(shield=True):
                await transport.close(code, "")
            nursery.cancel_scope.cancel()
    if connection.closed is not None and connection.closed.code in VIOLATIONS:
        # The library knows that the client broke the protocol, and does not say so.
        await stream.send_all(_close_frame(connection.closed.code, connection.closed.reason or ""))


async def _accept(
    nursery: trio.Nursery, stream: ConnectionStream, settings: Keepalive, subprotocol: str | None
) -> _Connection | None:
    with trio.move_on_after(HANDSHAKE_TIMEOUT):
        try:
            connection = _Connection(_Borrowed(stream), settings.message_size)
            nursery.start_soon(connection._reader_task)
            request = await connection._get_request()
            identity = [(b"X-Request-Id", stream.asked.id.encode())]
            await request.accept(subprotocol=subprotocol, extra_headers=identity)
            return connection
        except (ConnectionClosed, HandshakeError):
            return None
    return None


async def _keep_alive(connection: WebSocketConnection, stream: ConnectionStream, settings: Keepalive) -> None:
    while True:
        await trio.sleep(settings.interval)
        with trio.move_on_after(settings.pong_deadline) as scope:
            try:
                await connection.ping()
            except ConnectionClosed:
                return
        if scope.cancelled_caught:
            log.info("no pong in time: the connection is dropped")
            stream.abort()
            return


def _short(reason: str) -> str:
    """A close frame holds 123 bytes of reason."""
    return reason.encode()[:123].decode(errors="ignore")


def _close_frame(code: int, reason: str) -> bytes:
    payload = code.to_bytes(2, "big") + _short(reason).encode()
    return bytes([0x88, len(payload)]) + payload
