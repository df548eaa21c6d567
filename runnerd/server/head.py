"""A request's head: enough of HTTP to choose who serves a connection. Pure: bytes in, values out."""

import base64
import binascii
from collections.abc import Callable, Iterable

import h11
import msgspec

from runnerd.errors import BadRequest, RunnerdError, TooLarge


class HeadTooLarge(TooLarge):
    """The request line and headers are beyond their limit."""

    code, status = "head_too_large", 431

    def __init__(self, limit: int) -> None:
        super().__init__(f"the request's headers are longer than {limit} bytes")


class MethodNotAllowed(RunnerdError):
    """The path exists, and not with this method."""

    code, status = "method_not_allowed", 405


class UpgradeRequired(BadRequest):
    """The WebSocket version asked for is not the one spoken here."""

    code, status = "upgrade_required", 426


class Head(msgspec.Struct, frozen=True):
    """One request's line and headers. Header names are lower case; values are as sent, without outer blanks."""

    method: str
    target: str
    version: str
    headers: tuple[tuple[str, str], ...]

    @property
    def path(self) -> str:
        """The target without its query."""
        return self.target.partition("?")[0]

    def get(self, name: str) -> str | None:
        """The values of a header, joined as HTTP allows; None when it was not sent."""
        values = [value for key, value in self.headers if key == name]
        return ", ".join(values) if values else None

    def words(self, name: str) -> list[str]:
        """A comma-separated header as its parts."""
        return [word for part in (self.get(name) or "").split(",") if (word := part.strip())]

    @property
    def wants_websocket(self) -> bool:
        return (
            self.method == "GET"
            and any(word.lower() == "upgrade" for word in self.words("connection"))
            and any(word.lower() == "websocket" for word in self.words("upgrade"))
        )

    def check_handshake(self) -> None:
        """Raise BadRequest unless a WebSocket handshake is whole. Half of one would leave its library waiting."""
        if self.version != "1.1":
            raise BadRequest(f"a WebSocket needs HTTP/1.1, not {self.version}")
        version = self.get("sec-websocket-version")
        if version != "13":
            raise UpgradeRequired(
                f"Sec-WebSocket-Version is {version or 'missing'}", hint="send Sec-WebSocket-Version: 13"
            )
        try:
            key = base64.b64decode((self.get("sec-websocket-key") or "").encode("latin-1"), validate=True)
        except (binascii.Error, ValueError):
            key = b""
        if len(key) != 16:
            raise BadRequest("Sec-WebSocket-Key is missing or is not 16 bytes in base64")

    @property
    def size(self) -> int:
        """Bytes of the head, as `encode` writes it."""
        return (
            len(self.method) + len(self.target) + 14 + sum(len(name) + len(value) + 4 for name, value in self.headers)
        )

    def encode(self) -> bytes:
        """The head as bytes of HTTP/1.1."""
        lines = [f"{self.method} {self.target} HTTP/{self.version}"]
        lines += [f"{name}: {value}" for name, value in self.headers]
        return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1")


Claims = Callable[[Head], bool]
"""Whether a request is another's to serve."""


def from_request(request: h11.Request) -> Head:
    return Head(
        method=request.method.decode("ascii"),
        target=request.target.decode("latin-1"),
        version=request.http_version.decode("ascii"),
        headers=_headers(request.headers),
    )


class HeadParser:
    """Collects one request's head from pieces.

    `raw` is everything received so far, the head and what follows it: whoever serves the connection reads it again.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._connection = h11.Connection(h11.SERVER, max_incomplete_event_size=limit)
        self.raw = bytearray()

    def feed(self, data: bytes) -> Head | None:
        """Add bytes. None while the head is not whole. Raises HeadTooLarge or BadRequest."""
        self.raw += data
        try:
            self._connection.receive_data(data)
            event = self._connection.next_event()
        except h11.RemoteProtocolError as problem:
            if problem.error_status_hint == 431:
                raise HeadTooLarge(self._limit) from None
            raise BadRequest("this is not an HTTP/1.1 request") from None
        if not isinstance(event, h11.Request):
            return None
        if len(self.raw) - len(self._connection.trailing_data[0]) > self._limit:
            raise HeadTooLarge(self._limit)
        return from_request(event)


def _headers(items: Iterable[tuple[bytes, bytes]]) -> tuple[tuple[str, str], ...]:
    return tuple((name.decode("latin-1"), value.decode("latin-1")) for name, value in items)
