"""Accepts connections, reads each one's first head under limits, and hands it to who serves it."""

import logging
import socket
from collections.abc import Awaitable, Callable, Mapping
from typing import Protocol

import msgspec
import trio

from runnerd.errors import Busy, NotFound, RunnerdError
from runnerd.server import logs, proxy_protocol
from runnerd.server.asked import identify, new_id
from runnerd.server.forwarded import Proxies, canonical
from runnerd.server.head import Head, HeadParser
from runnerd.server.origin import Gate
from runnerd.server.stream import ConnectionStream
from runnerd.server.trouble import response

log = logging.getLogger("runnerd.server.listener")

READ = 16384


class HeadTimeout(RunnerdError):
    """The client did not finish its request's head in time."""

    code, status, close = "head_timeout", 408, 1008


class Http(Protocol):
    async def serve(self, stream: ConnectionStream) -> Head | None:
        """Answer requests until the connection is over, or one comes that others serve: a WebSocket handshake, or what
        is served elsewhere. `stream` replays that."""
        ...


class Elsewhere(Protocol):
    def claims(self, head: Head) -> bool:
        """Whether a request is no matter of the daemon's own paths, WebSockets and names."""
        ...

    async def serve(self, stream: ConnectionStream, head: Head) -> None:
        """Serve such a request, which `stream` replays, as the last of its connection. May raise RunnerdError before
        anything was sent."""
        ...


ServeWebSocket = Callable[[ConnectionStream, Head], Awaitable[None]]
"""Serves one connection whose handshake `stream` replays. May raise RunnerdError before anything was sent."""


class Settings(msgspec.Struct, frozen=True):
    """Seconds and bytes; `connections` is how many may be open at a time. With `proxy_protocol`, trusted proxies begin
    by its header."""

    connections: int = 4096
    head_timeout: float = 10.0
    head_size: int = 16384
    send_deadline: float = 20.0
    proxy_protocol: bool = False


class Listener:
    """One port. What `elsewhere` claims is its own; `websockets` says who serves a WebSocket by path: just this; with a
    slash at its end what is in it; with /** at its end all that is below what is in it. `http` serves all else.
    `proxies` are believed.

    Nothing that one connection does ends another or the daemon.
    """

    def __init__(
        self,
        settings: Settings,
        gate: Gate,
        http: Http,
        websockets: Mapping[str, ServeWebSocket],
        proxies: Proxies | None = None,
        elsewhere: Elsewhere | None = None,
    ) -> None:
        self._settings = settings
        self._gate = gate
        self._http = http
        self._websockets = websockets
        self._proxies = proxies or Proxies(())
        self._elsewhere = elsewhere
        self.open = 0
        self.accepted = 0
        self.refused = 0

    def adopt(self, settings: Settings, gate: Gate, proxies: Proxies) -> None:
        """Serve new connections by these from now on."""
        self._settings, self._gate, self._proxies = settings, gate, proxies

    async def accept(self, sockets: list[socket.socket], connections: trio.Nursery) -> None:
        """Accept until cancelled, then close the sockets. Connections run in `connections` and outlive this."""
        listeners = [trio.SocketListener(trio.socket.from_stdlib_socket(each)) for each in sockets]
        await trio.serve_listeners(self.serve, listeners, handler_nursery=connections)

    async def serve(self, stream: trio.SocketStream) -> None:
        """Serve one accepted connection until it is over; raises nothing but trio.Cancelled."""
        self.accepted += 1
        if self.open >= self._settings.connections:
            self.refused += 1
            await self._turn_away(stream)
            return
        self.open += 1
        connection = ConnectionStream(stream, send_deadline=self._settings.send_deadline)
        try:
            try:
                await self._route(connection)
            except RunnerdError as problem:
                await self._answer(connection, problem)
        except* (trio.BrokenResourceError, trio.ClosedResourceError, OSError):
            log.debug("a connection broke", exc_info=True)
        except* Exception as group:
            # Servers of connections tell clients themselves; what comes here is what clients provoked in libraries.
            log.info("a connection failed", exc_info=group)
        finally:
            self.open -= 1
            connection.abort()

    async def _route(self, stream: ConnectionStream) -> None:
        head = await self._read_head(stream)
        while head is not None and not head.wants_websocket and not self._is_elsewhere(head):
            head = await self._http.serve(stream)
        if head is None:
            return
        stream.asked = identify(head, stream.peer, self._proxies)
        logs.bind(request=stream.asked.id, client=stream.asked.address)
        if self._elsewhere is not None and self._is_elsewhere(head):
            await self._elsewhere.serve(stream, head)
            await stream.linger()
            return
        self._gate.check_host(head)
        serve = self._serves(head.path)
        if serve is None:
            raise NotFound(f"there is no {head.path} for WebSockets")
        self._gate.check_origin(head)
        await serve(stream, head)
        await stream.linger()

    def _is_elsewhere(self, head: Head) -> bool:
        return self._elsewhere is not None and self._elsewhere.claims(head)

    def _serves(self, path: str) -> ServeWebSocket | None:
        """Who serves just this path, or its folder, or all below one above it."""
        above = path.rstrip("/").rpartition("/")[0]
        serve = self._websockets.get(path) or self._websockets.get(f"{above}/")
        while serve is None and above:
            above = above.rpartition("/")[0]
            serve = self._websockets.get(f"{above}/**")
        return serve

    async def _read_head(self, stream: ConnectionStream) -> Head | None:
        """The first head, which `stream` then replays. None when the client left before it was whole."""
        parser = HeadParser(self._settings.head_size)
        with trio.move_on_after(self._settings.head_timeout):
            if self._settings.proxy_protocol and self._proxies.trusts(stream.peer):
                await self._read_proxy_header(stream)
            while data := await stream.receive_some(READ):
                if (head := parser.feed(data)) is not None:
                    stream.replay(bytes(parser.raw))
                    return head
            return None
        raise HeadTimeout(f"no whole request came within {self._settings.head_timeout:g} s")

    async def _read_proxy_header(self, stream: ConnectionStream) -> None:
        """Learn from a trusted proxy who connected to it; what follows the header is replayed."""
        data = b""
        while more := await stream.receive_some(READ):
            data += more
            if (header := proxy_protocol.parse(data)) is not None:
                stream.replay(data[header.size :])
                stream.peer = canonical(header.source or stream.peer)
                return

    async def _answer(self, stream: ConnectionStream, error: RunnerdError) -> None:
        try:
            await stream.send_all(response(error, stream.asked.id))
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            return
        await stream.linger()

    async def _turn_away(self, stream: trio.SocketStream) -> None:
        """Too many connections: what the kernel takes at once is all that this one gets."""
        error = Busy("too many connections", retry_after=5)
        with trio.move_on_after(0.1):
            try:
                await stream.send_all(response(error, new_id()))
            except (trio.BrokenResourceError, trio.ClosedResourceError):
                log.debug("a refused connection broke")
        stream.socket.close()
