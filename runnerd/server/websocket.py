"""WebSocket connections: the only importer of trio-websocket, which has no time limits of its own."""

import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

import trio
from trio_websocket import ConnectionClosed, HandshakeError, WebSocketConnection, WebSocketRequest, wrap_server_stream

from runnerd.errors import BadRequest
from runnerd.protocols import Frame
from runnerd.server.head import Head
from runnerd.server.stream import ConnectionStream

log = logging.getLogger("runnerd.server.websocket")

HANDSHAKE_TIMEOUT = 10.0
CLOSE_TIMEOUT = 3.0
NORMAL, GOING_AWAY = 1000, 1001
VIOLATIONS = (1002, 1007)
QUEUED_MESSAGES = 1
"""Messages that wait for the conversation, which takes them at once; more would only be memory for a flood."""


@dataclass(frozen=True, slots=True)
class Keepalive:
    """Seconds between pings, and that a pong may take. The largest message is in bytes (characters of text)."""

    interval: float = 20.0
    pong_deadline: float = 20.0
    message_size: int = 16 * 1024 * 1024


class WebSocketTransport:
    """One accepted connection, as conversations see it. Frames are sent in the order of the calls."""

    def __init__(self, connection: WebSocketConnection) -> None:
        self._connection = connection

    async def receive(self) -> Frame | None:
        """The next message; None when the connection is over."""
        try:
            return await self._connection.get_message()
        except ConnectionClosed:
            return None

    async def send(self, frame: Frame) -> None:
        """Send one message. A closed connection swallows it: `receive` tells of the end."""
        try:
            await self._connection.send_message(frame)
        except ConnectionClosed:
            return

    async def close(self, code: int, reason: str) -> None:
        """Say why, and wait a little for the client's answer."""
        with trio.move_on_after(CLOSE_TIMEOUT):
            await self._connection.aclose(code, _short(reason))


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
) -> WebSocketConnection | None:
    with trio.move_on_after(HANDSHAKE_TIMEOUT):
        try:
            request: WebSocketRequest = await wrap_server_stream(
                nursery,
                _Borrowed(stream),
                message_queue_size=QUEUED_MESSAGES,
                max_message_size=settings.message_size,
                receive_buffer_size=None,
            )
            identity = [(b"X-Request-Id", stream.asked.id.encode())]
            return await request.accept(subprotocol=subprotocol, extra_headers=identity)
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
