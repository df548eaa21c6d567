"""HTTP requests to what listens in a box, over connections that its init makes."""

from collections.abc import Awaitable, Callable, Mapping
from urllib.parse import urlsplit

import h11
import msgspec
import trio

from runnerd.errors import BadRequest, InitRefused, RunnerdError, TooLarge
from runnerd.sandbox.box import Box

SECONDS = 30.0
"""The whole of an answer must have come by then."""

BODY_MAX = 8 * 1024 * 1024
"""Bytes of an answer's body."""

READ = 64 * 1024
HEAD_MAX = 64 * 1024

HOSTS = {"localhost": "localhost", "127.0.0.1": "127.0.0.1", "0.0.0.0": "127.0.0.1", "::1": "::1"}
"""Names of the box itself, as its init dials them."""


class NoAnswer(RunnerdError):
    """What listens in the box, or nothing, gave no whole answer that is HTTP."""

    code, status = "no_answer", 502


class Request(msgspec.Struct, frozen=True):
    """One request to a port of the box. `target` begins with a slash; `authority` is HOST:PORT for the header."""

    method: str
    host: str
    port: int
    authority: str
    target: str
    headers: tuple[tuple[str, str], ...]
    data: bytes


class Answer(msgspec.Struct, frozen=True):
    """What came before the body."""

    status: int
    headers: tuple[tuple[str, str], ...]


Take = Callable[[bytes], Awaitable[None]]
"""Takes a part of an answer's body, as soon as it comes."""


def request_of(method: str, url: str, headers: Mapping[str, str], data: bytes) -> Request:
    """Raises BadRequest for an address that is none of the box's."""
    hint = "url: http://localhost:PORT/..., where a program of this space listens"
    try:
        parts = urlsplit(url)
        port = 80 if parts.port is None else parts.port
    except ValueError:
        raise BadRequest(f"url is {url[:80]!r}", hint=hint) from None
    if parts.scheme != "http" or parts.hostname not in HOSTS or port == 0:
        raise BadRequest(f"url is {url[:80]!r}", hint=hint)
    target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    name = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
    return Request(method, HOSTS[parts.hostname], port, f"{name}:{port}", target, tuple(headers.items()), data)


async def fetch(box: Box, request: Request, take: Take) -> Answer:
    """Ask, give the answer's body to `take` part by part, and return its head. Redirects are not followed.

    Raises BadRequest for a request that is no HTTP, NoAnswer, TooLarge, BrokenBox.
    """
    client = h11.Connection(h11.CLIENT, max_incomplete_event_size=HEAD_MAX)
    asked = _encoded(client, request)
    with trio.move_on_after(SECONDS):
        async with await dial(box, request.port, request.host) as stream:
            try:
                await stream.send_all(asked)
                return await _answer(client, stream, take)
            except h11.RemoteProtocolError as problem:
                raise NoAnswer(f"{request.authority} answered what is not HTTP: {problem}") from None
            except trio.BrokenResourceError:
                raise NoAnswer(f"{request.authority} broke the connection") from None
    raise NoAnswer(f"{request.authority} gave no whole answer within {SECONDS:g} s")


def _encoded(client: h11.Connection, request: Request) -> bytes:
    given = {name.lower() for name, _ in request.headers}
    own = [("Host", request.authority), ("Content-Length", str(len(request.data))), ("Connection", "close")]
    headers = [*request.headers, *(each for each in own if each[0].lower() not in given)]
    try:
        head = client.send(h11.Request(method=request.method, target=request.target, headers=headers))
        body = client.send(h11.Data(data=request.data)) if request.data else b""
        return (head or b"") + (body or b"") + (client.send(h11.EndOfMessage()) or b"")
    except (h11.LocalProtocolError, UnicodeError) as problem:
        raise BadRequest(f"the request cannot be sent: {problem}", hint="it must be as HTTP has it") from None


async def dial(box: Box, port: int, host: str = "localhost") -> trio.SocketStream:
    """A connection to a port of the box. Raises NoAnswer when nothing listens there, and BrokenBox."""
    try:
        dialled = await box.dial(port, host)
    except InitRefused as problem:
        hint = "start a server by shell first, and give it a moment"
        raise NoAnswer(problem.message, hint=hint) from None
    return trio.SocketStream(trio.socket.from_stdlib_socket(dialled))


async def _answer(client: h11.Connection, stream: trio.SocketStream, take: Take) -> Answer:
    head, size = Answer(0, ()), 0
    while True:
        event = client.next_event()
        if event is h11.NEED_DATA:
            client.receive_data(await stream.receive_some(READ))
        elif isinstance(event, h11.Response):
            named = ((name.decode("latin-1"), value.decode("latin-1")) for name, value in event.headers)
            head = Answer(event.status_code, tuple(named))
        elif isinstance(event, h11.Data):
            size += len(event.data)
            if size > BODY_MAX:
                raise TooLarge(f"the answer is larger than {BODY_MAX} bytes")
            await take(bytes(event.data))
        elif event is h11.PAUSED:
            raise h11.RemoteProtocolError("it goes on in another protocol")
        elif isinstance(event, h11.EndOfMessage | h11.ConnectionClosed):
            return head
