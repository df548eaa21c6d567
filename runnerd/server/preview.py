"""Previews: browsers see what listens on ports of spaces (docs/preview.md)."""

import socket
import time
from collections import Counter
from collections.abc import Callable, Generator, Iterable
from contextlib import contextmanager

import trio

from runnerd.config import Preview as Settings
from runnerd.errors import BrokenBox, Busy, Forbidden, NotFound, RunnerdError
from runnerd.server import preview_address as address
from runnerd.server import preview_headers as headers
from runnerd.server.cors import is_preflight
from runnerd.server.forwarded import Proxies
from runnerd.server.head import Head, MethodNotAllowed
from runnerd.server.origin import Gate
from runnerd.server.preview_address import Place
from runnerd.server.relay import GatewayTimeout, Relay
from runnerd.server.stream import ConnectionStream
from runnerd.session.space import Space, SpaceEnded

REMEMBERED = 4096
"""Spaces that had previews, of which it is known that they were there and are no more."""

KEEPALIVE = 60
"""Seconds without a word after which the kernel asks whether a client is still there."""

REASONS = {204: "No Content", 303: "See Other", 308: "Permanent Redirect"}


class Previews:
    """`spaces` tells those that live; `clock` seconds since the epoch."""

    def __init__(
        self,
        spaces: Callable[[], Iterable[Space]],
        settings: Settings,
        gate: Gate,
        proxies: Proxies,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._spaces, self._clock = spaces, clock
        self._open: Counter[str] = Counter()
        self._known: dict[str, None] = {}
        self.adopt(settings, gate, proxies)

    def adopt(self, settings: Settings, gate: Gate, proxies: Proxies) -> None:
        """Serve new requests by these from now on. Addresses of another base lead nowhere any more."""
        self._settings, self._gate, self._proxies = settings, gate, proxies
        self._base = address.base(settings.url)

    def address(self, space: Space, port: int) -> tuple[str, float]:
        """What a browser opens to see a port, and for how many seconds it may. Raises Forbidden, SpaceEnded."""
        self._refuse_when_off()
        if space.reason:
            raise space.error()
        self._known.pop(space.id, None)
        self._known[space.id] = None
        if len(self._known) > REMEMBERED:
            del self._known[next(iter(self._known))]
        expires = int(self._clock() + self._settings.valid)
        return address.address(self._base, space.join_key.secret, space.id, port, expires), self._settings.valid

    def claims(self, head: Head) -> bool:
        """Whether `serve` is for this request."""
        return address.claims(self._base, head)

    async def serve(self, stream: ConnectionStream, head: Head) -> None:
        """Serve one request, which `stream` replays. Raises before anything was sent: BadRequest, Forbidden, NotFound,
        SpaceEnded, Busy, NoAnswer, BadGateway, GatewayTimeout."""
        if not self._base.host:
            self._gate.check_host(head)
        self._refuse_when_off()
        if head.method in ("CONNECT", "TRACE"):
            raise MethodNotAllowed(f"{head.method} is not for previews")
        place = address.find(self._base, head)
        space = self._find(place.space)
        capability, expires = address.verify(space.join_key.secret, place, self._clock())
        headers.check(head, place)
        if place.prefix and is_preflight(head):
            await self._say(stream, place, 204, headers.preflight(head))
        elif not place.target.startswith("/"):
            await self._say(stream, place, 308, [("location", f"{place.prefix}/{place.target}")])
        elif place.prefix or place.by_cookie or head.method != "GET" or head.wants_websocket:
            await self._relay(stream, head, place, space)
        else:
            cookie = headers.cookie(self._base, capability, max(1, round(expires - self._clock())))
            target = "/" + place.target.lstrip("/\\")  # never another host
            await self._say(stream, place, 303, [("location", target), ("set-cookie", cookie)])

    async def _relay(self, stream: ConnectionStream, head: Head, place: Place, space: Space) -> None:
        """Until the exchange is over, or its space."""
        asked = headers.to_server(head, place, self._base, stream.asked.address, self._scheme(stream, head))
        relay = Relay(stream, self._settings.answer, space.stir, self._answered(stream, head, place))
        problem: RunnerdError | None = None
        _watch_for_absence(stream)
        with self._counted(space):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(_cancel_when_over, space, nursery.cancel_scope)
                try:
                    async with await self._dial(space, place.port) as server:
                        await relay.run(server, head.method, place.target, asked)
                except RunnerdError as error:
                    problem = error
                nursery.cancel_scope.cancel()
        if space.reason and not relay.began:
            raise space.error()
        if problem is not None:
            raise problem

    def _answered(
        self, stream: ConnectionStream, head: Head, place: Place
    ) -> Callable[[headers.Headers], headers.Headers]:
        base, identity = self._base, ("x-request-id", stream.asked.id)
        return lambda given: [*headers.to_client(given, head, place, base), identity]

    async def _dial(self, space: Space, port: int) -> trio.SocketStream:
        with trio.move_on_after(self._settings.answer):
            try:
                return await space.dial(port)
            except BrokenBox:
                await space.over.wait()
                raise space.error() from None
        raise GatewayTimeout(f"port {port} took no connection within {self._settings.answer:g} s")

    def _find(self, id: str) -> Space:
        for space in self._spaces():
            if space.id == id:
                if space.reason:
                    raise space.error()
                return space
        if id in self._known:
            raise SpaceEnded("the space of this preview has ended", hint="init makes a new one")
        raise NotFound("there is no such space")

    @contextmanager
    def _counted(self, space: Space) -> Generator[None]:
        if self._open[space.id] >= self._settings.connections:
            limit = self._settings.connections
            raise Busy(f"{limit} connections into this space are open", retry_after=1)
        self._open[space.id] += 1
        try:
            yield
        finally:
            self._open[space.id] -= 1
            if not self._open[space.id]:
                del self._open[space.id]

    def _refuse_when_off(self) -> None:
        if not self._settings.connections:
            raise Forbidden("this daemon has no previews", hint="preview.connections is 0 in its configuration")

    def _scheme(self, stream: ConnectionStream, head: Head) -> str:
        """What the browser speaks, as far as it is known."""
        given = (head.get("x-forwarded-proto") or "").lower()
        if given in ("http", "https") and self._proxies.trusts(stream.peer):
            return given
        return self._base.scheme or "http"

    async def _say(self, stream: ConnectionStream, place: Place, status: int, more: headers.Headers) -> None:
        """An answer of our own, without a body."""
        length = [] if status == 204 else [("content-length", "0")]
        told = [*headers.isolation(place), ("cache-control", "no-store"), *more, *length]
        told += [("x-request-id", stream.asked.id), ("connection", "close")]
        lines = [f"HTTP/1.1 {status} {REASONS[status]}", *(f"{name}: {value}" for name, value in told)]
        await stream.send_all(("\r\n".join(lines) + "\r\n\r\n").encode("latin-1"))


async def _cancel_when_over(space: Space, scope: trio.CancelScope) -> None:
    await space.over.wait()
    scope.cancel()


def _watch_for_absence(stream: ConnectionStream) -> None:
    """An answer may be silent for hours, in which nobody would notice that a client has vanished."""
    if stream.socket.family != socket.AF_UNIX:
        stream.socket.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        stream.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, KEEPALIVE)
