"""HTTP requests to programs in a space, in a real box: servers that answer well, badly, for ever and not at all."""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

import pytest
import trio

from runnerd.errors import BadRequest, TooLarge
from runnerd.sandbox.host import Host
from runnerd.session import fetch as fetching
from runnerd.session.fetch import Answer, NoAnswer, request_of
from runnerd.session.space import Space

from .spaces import Inside, opened

SERVER = b"""\
import http.server

class Handler(http.server.BaseHTTPRequestHandler):
    def do_POST(self):
        data = self.rfile.read(int(self.headers["Content-Length"]))
        told = f"{self.command} {self.path} {self.headers['Host']} {self.headers['X-A']} ".encode() + data
        self.send_response(201)
        self.send_header("Content-Length", str(len(told)))
        self.send_header("Set-Cookie", "a")
        self.send_header("Set-Cookie", "b")
        self.end_headers()
        self.wfile.write(told)

http.server.HTTPServer(("127.0.0.1", 3000), Handler).serve_forever()
"""

RAW = """\
import socket
server = socket.create_server(("127.0.0.1", 3000))
while True:
    connection, _ = server.accept()
    connection.recv(65536)
    try:
        %s
    except OSError:
        pass
    connection.close()
"""


async def get(space: Space, url: str = "http://localhost:3000/", method: str = "GET") -> tuple[Answer, bytes]:
    parts: list[bytes] = []

    async def take(data: bytes) -> None:
        parts.append(data)

    answer = await space.fetch(request_of(method, url, {}, b""), take)
    return answer, b"".join(parts)


@asynccontextmanager
async def serving(host: Host, program: bytes) -> AsyncGenerator[Space]:
    async with opened(host) as space:
        ada = Inside(space)
        ada.write("server.py", program + b"\n")
        await space.shell(ada.member, "python server.py")
        while True:
            try:
                (await _box(space).dial(3000)).close()
                break
            except Exception:
                await trio.sleep(0.02)
        yield space


def _box(space: Space) -> fetching.Box:
    assert space._box is not None
    return space._box


def raw(what: str) -> bytes:
    return (RAW % what).encode()


async def test_a_request_in_full(host: Host) -> None:
    async with serving(host, SERVER) as space:
        parts: list[bytes] = []

        async def take(data: bytes) -> None:
            parts.append(data)

        request = request_of("POST", "http://0.0.0.0:3000/a?b=c#d", {"X-A": "1"}, b"\xffdata")
        answer = await space.fetch(request, take)
        assert answer.status == 201
        assert [value for name, value in answer.headers if name == "set-cookie"] == ["a", "b"]
        assert b"".join(parts) == b"POST /a?b=c 0.0.0.0:3000 1 \xffdata"


OK = "HTTP/1.1 200 OK\r\n"


@pytest.mark.parametrize(
    ("sent", "body"),
    [
        (f"{OK}Content-Length: 2\r\n\r\nhi", b"hi"),
        ("HTTP/1.0 200 OK\r\n\r\nhi", b"hi"),
        (f"{OK}Transfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\n\r\n", b"hi"),
        (f"HTTP/1.1 103 Soon\r\n\r\n{OK}Content-Length: 2\r\n\r\nhi", b"hi"),
        ("HTTP/1.1 204 Nothing\r\n\r\n", b""),
    ],
)
async def test_answers(host: Host, sent: str, body: bytes) -> None:
    async with serving(host, raw(f"connection.send({sent.encode()})")) as space:
        assert (await get(space))[1] == body


@pytest.mark.parametrize(
    "sent",
    [
        "pass",
        "connection.send(b'SSH-2.0-x\\r\\n')",
        "connection.send(b'HTTP/1.1 200 OK\\r\\nContent-Length: 9\\r\\n\\r\\nhi')",
        "connection.send(b'HTTP/1.1 200 OK\\r\\nX: ' + b'x' * 200_000)",
        "connection.send(b'HTTP/1.1 101 Switching\\r\\nUpgrade: x\\r\\n\\r\\n')",
        "import struct; connection.setsockopt(1, 13, struct.pack('ii', 1, 0))",
    ],
)
async def test_answers_that_are_none(host: Host, sent: str) -> None:
    async with serving(host, raw(sent)) as space:
        for _ in range(2):
            with pytest.raises(NoAnswer):
                await get(space)


async def test_an_endless_answer(host: Host) -> None:
    endless = "connection.send(b'HTTP/1.0 200 OK\\r\\n\\r\\n')\n        while True: connection.send(b'x' * 65536)"
    async with serving(host, raw(endless)) as space:
        with pytest.raises(TooLarge):
            await get(space)


async def test_a_slow_answer(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    slow = "import time\n        connection.send(b'HTTP/1.0 200 OK\\r\\n\\r\\n')\n        time.sleep(100)"
    monkeypatch.setattr(fetching, "SECONDS", 0.3)
    async with serving(host, raw(slow)) as space:
        with pytest.raises(NoAnswer, match=r"within 0\.3 s"):
            await get(space)


async def test_nobody_listens(host: Host) -> None:
    async with opened(host) as space:
        for name in ("localhost", "127.0.0.1", "[::1]"):
            with pytest.raises(NoAnswer, match="refused"):
                await get(space, f"http://{name}:3000/")


@pytest.mark.parametrize(
    "url",
    [
        "https://localhost:3000/",
        "http://example.org/",
        "http://169.254.169.254/",
        "http://127.0.0.2:3000/",
        "http://localhost:0/",
        "http://localhost:65536/",
        "http://localhost:x/",
        "http://[::1/",
        "file:///etc/passwd",
        "localhost:3000",
        "",
    ],
)
def test_addresses_that_are_none_of_the_box(url: str) -> None:
    with pytest.raises(BadRequest):
        request_of("GET", url, {}, b"")


@pytest.mark.parametrize(
    ("method", "target", "headers"),
    [
        ("GET x", "/", {}),
        ("", "/", {}),
        ("GET", "/é", {}),
        ("GET", "/ x", {}),
        ("GET", "/", {"A\r\nB": "x"}),
        ("GET", "/", {"A": "x\r\nB: y"}),
        ("GET", "/", {"Content-Length": "x"}),
        ("GET", "/", {"A": "é\u0100"}),
    ],
)
async def test_requests_that_are_no_http(method: str, target: str, headers: dict[str, str]) -> None:
    request = request_of(method, f"http://localhost:3000{target}", headers, b"")
    box: fetching.Box = None  # type: ignore[assignment]  # it is not come to that
    with pytest.raises(BadRequest, match="cannot be sent"):
        await fetching.fetch(box, request, None)  # type: ignore[arg-type]
