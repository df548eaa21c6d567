"""Previews through the real listener: servers in a space that answer well, badly, for ever and not at all."""

import os
import re
import signal
import socket
import struct
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import trio
from server_fakes import Served, until
from test_spaces import Member, member, serving

from runnerd.server.preview_headers import SANDBOX

OK = b"HTTP/1.1 200 OK\r\n"
HI = OK + b"Content-Length: 2\r\n\r\nhi"
Handle = Callable[[trio.SocketStream], Awaitable[None]]


class Preview:
    """A space with a server at port 3000. `path` ends in a slash; `seen` is what the server was sent, head by head."""

    def __init__(self, served: Served, ada: Member) -> None:
        self.served, self.ada = served, ada
        self.seen: list[bytes] = []
        self.left = trio.Event()
        self.handle: Handle = partial(self.answer, HI)
        self.url = self.path = self.host = ""

    @property
    def space(self) -> Any:
        return self.served.registry.spaces[0]

    async def ask_for(self, port: int = 3000) -> str:
        await self.ada.cmd("preview", port=port)
        told = await self.ada.hear()
        assert (told["type"], told["port"]) == ("preview", port), told
        self.url = told["url"]
        self.host, _, self.path = self.url.rpartition("://")[2].partition("/")
        self.path = f"/{self.path}"
        self.host = self.host or "localhost"
        return self.url

    async def serve(self, stream: trio.SocketStream) -> None:
        async with stream:
            try:
                await self.handle(stream)
            except trio.BrokenResourceError:
                self.left.set()

    async def head(self, stream: trio.SocketStream) -> bytes:
        """What comes up to the end of a head; a little more may come along."""
        data = b""
        while b"\r\n\r\n" not in data:
            more = await stream.receive_some()
            assert more
            data += more
        self.seen.append(data)
        return data

    async def answer(self, data: bytes, stream: trio.SocketStream) -> None:
        await self.head(stream)
        await stream.send_all(data)

    def request(self, path: str = "", method: str = "GET", head: str = "", version: str = "1.1") -> bytes:
        close = "Connection: close\r\n"
        return f"{method} {self.path}{path} HTTP/{version}\r\nHost: {self.host}\r\n{head or close}\r\n".encode()

    async def get(
        self, path: str = "", method: str = "GET", head: str = "", body: bytes = b""
    ) -> tuple[int, str, bytes]:
        """Status, head and body as they came."""
        return parted(await self.served.ask(self.request(path, method, head) + body))


def parted(answer: bytes) -> tuple[int, str, bytes]:
    head, _, body = answer.partition(b"\r\n\r\n")
    return int(head.split(b" ")[1]), head.decode().lower(), body


@asynccontextmanager
async def previewing(tmp_path: Path, **settings: Any) -> AsyncIterator[Preview]:
    async with serving(tmp_path, **settings) as served, member(served) as ada, trio.open_nursery() as nursery:
        await ada.ask("init")
        preview = Preview(served, ada)
        listeners = await trio.open_tcp_listeners(0, host="127.0.0.1")
        served.registry.boxes[0].ports[3000] = listeners[0].socket.getsockname()[1]
        nursery.start_soon(trio.serve_listeners, preview.serve, listeners)
        await preview.ask_for()
        yield preview
        nursery.cancel_scope.cancel()


WILDCARD = {"url": "http://{port}-{space}.preview.localhost", "answer": 5}


# --- the way there ---------------------------------------------------------------------------------------------


async def test_a_page_below_a_path(tmp_path: Path) -> None:
    async with previewing(tmp_path) as preview:
        status, head, body = await preview.get("a/b?c=d", head="Accept: x\r\nCookie: a=b\r\n")
        assert (status, body) == (200, b"hi")
        assert f"content-security-policy: {SANDBOX}" in head
        assert "connection: close" in head
        (seen,) = preview.seen
        assert seen.startswith(b"GET /a/b?c=d HTTP/1.1\r\n")
        assert b"host: localhost:3000\r\n" in seen
        assert b"accept: x\r\n" in seen
        assert b"ookie" not in seen
        assert f"x-forwarded-prefix: {preview.path.rstrip('/')}\r\n".encode() in seen


async def test_who_may_not_see_it(tmp_path: Path) -> None:
    async with previewing(tmp_path) as preview, member(preview.served) as bob:
        good = preview.path
        space, port, capability = good.strip("/").split("/")[1:]
        wrong = capability[:-1] + ("0" if capability[-1] != "0" else "1")
        await bob.ask("init")
        other = preview.served.registry.spaces[1]
        for path, status in [
            (f"/preview/{space}/{port}/{wrong}/", 403),
            (f"/preview/{space}/{port}//", 403),
            (f"/preview/{space}/3001/{capability}/", 403),
            (f"/preview/{other.id}/{port}/{capability}/", 403),
            (f"/preview/n1-nobody/{port}/{capability}/", 404),
            ("/preview/", 404),
        ]:
            preview.path = path
            told = await preview.get()
            assert told[0] == status, (path, told)
        assert not preview.seen
        preview.path = good
        await preview.ada.send("revoke")
        await preview.ada.hear()
        status, _, body = await preview.get()
        assert (status, b"revoked" in body) == (403, True)
        await preview.ask_for()
        assert (await preview.get())[0] == 200
        preview.space.kill("enough")
        await preview.space.over.wait()
        assert (await preview.get())[0] == 410


async def test_an_address_expires(tmp_path: Path) -> None:
    async with previewing(tmp_path, preview={"valid": 0.001}) as preview:
        status, _, body = await preview.get()
        assert (status, b"expired" in body, b'"bad_capability"' in body) == (403, True, True)


async def test_previews_can_be_off(tmp_path: Path) -> None:
    async with serving(tmp_path, preview={"connections": 0}) as served, member(served) as ada:
        await ada.ask("init")
        await ada.cmd("preview", port=1)
        assert (await ada.hear())["code"] == "forbidden"
        assert parted(await served.ask(b"GET /preview/a/1/c/ HTTP/1.1\r\nHost: localhost\r\n\r\n"))[0] == 403


async def test_a_reload_changes_them(tmp_path: Path) -> None:
    settings: dict[str, object] = {"answer": 5}
    async with previewing(tmp_path, preview=settings) as preview:
        assert (await preview.get())[0] == 200
        settings["url"] = "http://preview.localhost"
        os.kill(os.getpid(), signal.SIGHUP)
        await until(lambda: bool(previews(preview)._base.host))
        assert (await preview.get())[0] == 404
        assert (await preview.ask_for()).startswith("http://preview.localhost/preview/")
        status, head, _ = await preview.get()
        assert status == 200
        assert re.search(r"x-request-id: [0-9a-f]{16}\r\n", head)


async def test_after_other_requests_of_a_connection(tmp_path: Path) -> None:
    """As reverse proxies send them, which use a connection again, here with all in one piece."""
    async with previewing(tmp_path) as preview:

        async def handle(stream: trio.SocketStream) -> None:
            data = await preview.head(stream)
            while not data.endswith(b"hello"):
                data += await stream.receive_some()
            await stream.send_all(HI)

        preview.handle = handle
        first = b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n"
        post = preview.request("x", "POST", "Content-Length: 5\r\n") + b"hello"
        answers = await preview.served.ask(first * 2 + post + first)
        assert answers.count(b"HTTP/1.1 200") == 3, "and what is sent after a preview's request is not read"
        assert answers.endswith(b"\r\n\r\nhi")


async def test_hosts_of_the_daemon(tmp_path: Path) -> None:
    async with previewing(tmp_path) as preview:
        preview.host = "evil.org"
        assert (await preview.get())[0] == 403
        assert not preview.seen


async def test_a_host_that_is_for_previews_alone(tmp_path: Path) -> None:
    async with previewing(tmp_path, preview={"url": "http://preview.localhost:81"}) as preview:
        assert preview.url.startswith("http://preview.localhost:81/preview/")
        assert (await preview.get())[0] == 200
        path = preview.path
        preview.path = "/api/v1/languages"
        assert (await preview.get())[0] == 404
        preview.path, preview.host = path, "localhost"
        assert (await preview.get())[0] == 404


async def test_an_origin_of_its_own(tmp_path: Path) -> None:
    async with previewing(tmp_path, preview=WILDCARD) as preview:
        status, head, _ = await preview.get("&a=b")
        assert status == 303
        assert "location: /?a=b" in head
        assert "referrer-policy: " in head
        cookie = re.findall(
            r"set-cookie: (runnerd_preview=[0-9a-f-]+); path=/; max-age=(?:28799|28800); httponly", head
        )
        assert not preview.seen
        preview.path = "/"
        assert (await preview.get())[0] == 403
        status, head, _ = await preview.get("x?y", head=f"Cookie: a=b; {cookie[0]}\r\n")
        assert status == 200
        assert "content-security-policy" not in head
        assert preview.seen[0].startswith(b"GET /x?y HTTP/1.1\r\n")
        assert b"cookie: a=b\r\n" in preview.seen[0]
        preview.host = preview.host.replace("3000-", "3001-")
        assert (await preview.get(head=f"Cookie: {cookie[0]}\r\n"))[0] == 403
        preview.host = "preview.localhost"
        assert (await preview.get())[0] == 403, "not a name of this daemon"
        preview.host = "localhost"
        assert (await preview.get("healthz"))[0] == 200


async def test_a_redirect_does_not_leave_its_host(tmp_path: Path) -> None:
    async with previewing(tmp_path, preview=WILDCARD) as preview:
        query = preview.path.partition("?")[2]
        for path in ("//evil.org/", "/\\evil.org/", "///\\/evil.org/"):
            preview.path = f"{path}?{query}"
            assert "location: /evil.org/\r\n" in (await preview.get())[1]


async def test_a_slash_is_added(tmp_path: Path) -> None:
    async with previewing(tmp_path) as preview:
        preview.path = preview.path.rstrip("/")
        status, head, _ = await preview.get("?a=b")
        assert status == 308
        assert f"location: {preview.path}/?a=b" in head


async def test_a_sandboxed_page_may_ask_first(tmp_path: Path) -> None:
    async with previewing(tmp_path) as preview:
        asked = "Origin: null\r\nAccess-Control-Request-Method: PUT\r\nAccess-Control-Request-Headers: x-a\r\n"
        status, head, _ = await preview.get(method="OPTIONS", head=asked)
        assert status == 204
        for line in ("allow-origin: *", "allow-methods: put", "allow-headers: x-a"):
            assert f"access-control-{line}" in head
        assert "credentials" not in head
        assert not preview.seen


# --- exchanges -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("sent", "body"),
    [
        (HI, b"hi"),
        (b"HTTP/1.0 200 OK\r\n\r\nhi", b"2\r\nhi\r\n0\r\n\r\n"),
        (OK + b"Transfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\n\r\n", b"2\r\nhi\r\n0\r\n\r\n"),
        (OK + b"Transfer-Encoding: chunked\r\nContent-Length: 9\r\n\r\n2\r\nhi\r\n0\r\n\r\n", b"2\r\nhi\r\n0\r\n\r\n"),
        (b"HTTP/1.1 103 Soon\r\nLink: x\r\n\r\n" + HI, b"hi"),
        (b"HTTP/1.1 200 OK\nContent-Length: 2\n\nhi", b"hi"),
        (HI + b"HTTP/1.1 200 OK\r\n\r\nmore", b"hi"),
    ],
)
async def test_answers(tmp_path: Path, sent: bytes, body: bytes) -> None:
    async with previewing(tmp_path) as preview:
        preview.handle = partial(preview.answer, sent)
        status, head, got = await preview.get()
        assert (status, got) == (200, body)
        assert not ("content-length" in head and "transfer-encoding" in head)


async def test_answers_without_a_body(tmp_path: Path) -> None:
    async with previewing(tmp_path) as preview:
        preview.handle = partial(preview.answer, OK + b"Content-Length: 1000\r\n\r\n")
        status, head, body = await preview.get(method="HEAD")
        assert (status, "content-length: 1000" in head, body) == (200, True, b"")
        preview.handle = partial(preview.answer, b"HTTP/1.1 304 Not Modified\r\nETag: x\r\n\r\n")
        assert (await preview.get())[::2] == (304, b"")


@pytest.mark.parametrize(
    "sent",
    [
        b"",
        b"SSH-2.0-x\r\n",
        b"HTTP/1.1 200 OK\r\nX: " + b"x" * 200_000,
        b"HTTP/1.1 200 OK\r\n" + b"X: x\r\n" * 50_000,
        b"HTTP/1.1 200 OK\r\nX y\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nX: a\0b\r\n\r\n",
        b"HTTP/1.1 101 Switching\r\nUpgrade: x\r\n\r\n",
        b"HTTP/1.1 103 Soon\r\n\r\n",
        OK + b"Content-Length: 1\r\nContent-Length: 2\r\n\r\nhi",
        OK + b"Content-Length: -1\r\n\r\n",
        OK + b"Transfer-Encoding: gzip\r\n\r\n",
    ],
)
async def test_answers_that_are_none(tmp_path: Path, sent: bytes) -> None:
    async with previewing(tmp_path) as preview:
        preview.handle = partial(preview.answer, sent)
        status, head, body = await preview.get()
        assert (status, b"bad_gateway" in body) == (502, True)
        assert "content-type: application/problem+json" in head


@pytest.mark.parametrize(
    "sent",
    [
        OK + b"Content-Length: 9\r\n\r\nhi",
        OK + b"Transfer-Encoding: chunked\r\n\r\n9\r\nhi",
        OK + b"Transfer-Encoding: chunked\r\n\r\n2\r\nhi\r\nx\r\n",
    ],
)
async def test_an_answer_that_breaks_off_is_not_taken_for_whole(tmp_path: Path, sent: bytes) -> None:
    async with previewing(tmp_path) as preview:
        preview.handle = partial(preview.answer, sent)
        status, head, body = await preview.get()
        assert status == 200
        assert "content-length: 9" in head or not body.endswith(b"0\r\n\r\n")


async def test_a_server_that_resets(tmp_path: Path) -> None:
    async def handle(stream: trio.SocketStream) -> None:
        stream.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        await preview.head(stream)

    async with previewing(tmp_path) as preview:
        preview.handle = handle
        assert (await preview.get())[0] == 502


async def test_nobody_listens(tmp_path: Path) -> None:
    async with previewing(tmp_path) as preview:
        await preview.ask_for(3001)
        status, _, body = await preview.get()
        assert (status, b"start a server by shell first" in body) == (502, True)


async def test_no_answer_in_time(tmp_path: Path) -> None:
    async with previewing(tmp_path, preview={"answer": 0.2}) as preview:
        preview.handle = _say_nothing
        status, _, body = await preview.get()
        assert (status, b"within 0.2 s" in body, b'"gateway_timeout"' in body) == (504, True, True)
        preview.served.registry.boxes[0].may_dial = trio.Event()
        assert (await preview.get())[0] == 504


async def test_a_request_whose_body_is_long(tmp_path: Path) -> None:
    """The server reads it as slowly as it likes, and nothing of it is kept here."""
    size = 8 * 1024 * 1024

    async def handle(stream: trio.SocketStream) -> None:
        data = await preview.head(stream)
        _, _, rest = data.partition(b"\r\n\r\n")
        count = len(rest)
        while count < size:
            count += len(await stream.receive_some(65536))
        await stream.send_all(OK + f"Content-Length: {len(str(count))}\r\n\r\n{count}".encode())

    async with previewing(tmp_path) as preview:
        preview.handle = handle
        head = f"Content-Length: {size}\r\nExpect: 100-continue\r\n"
        answer = await preview.served.ask(preview.request(method="POST", head=head) + b"x" * size)
        assert answer.startswith(b"HTTP/1.1 100 \r\n\r\nHTTP/1.1 200 OK\r\n")
        assert answer.endswith(str(size).encode())
        assert b"xpect" not in preview.seen[0]


async def test_chunked_requests(tmp_path: Path) -> None:
    async with previewing(tmp_path) as preview:

        async def handle(stream: trio.SocketStream) -> None:
            data = await preview.head(stream)
            while not data.endswith(b"0\r\n\r\n"):
                data += await stream.receive_some()
            await stream.send_all(HI)
            preview.seen.append(data)

        preview.handle = handle
        chunked = "Transfer-Encoding: chunked\r\n"
        assert (await preview.get(method="POST", head=chunked, body=b"2;x=y\r\nhi\r\n0\r\nTrailer: x\r\n\r\n"))[
            0
        ] == 200
        assert b"transfer-encoding: chunked\r\n" in preview.seen[1]
        assert b"\r\n\r\n2\r\nhi\r\n0\r\n" in preview.seen[1]


async def test_events_come_as_they_are_sent(tmp_path: Path) -> None:
    async with previewing(tmp_path) as preview:
        go_on = trio.Event()

        async def handle(stream: trio.SocketStream) -> None:
            await preview.head(stream)
            await stream.send_all(OK + b"Content-Type: text/event-stream\r\n\r\ndata: 1\n\n")
            await go_on.wait()
            await stream.send_all(b"data: 2\n\n")
            with pytest.raises(trio.BrokenResourceError):
                while True:
                    await stream.send_all(b"data: 3\n\n")
            preview.left.set()

        preview.handle = handle
        async with await preview.served.connect() as stream:
            await stream.send_all(preview.request())
            data = b""
            while b"data: 1\n\n" not in data:
                data += await stream.receive_some()
            active = trio.current_time() - preview.space.status().idle
            go_on.set()
            while b"data: 2\n\n" not in data:
                data += await stream.receive_some()
            assert trio.current_time() - preview.space.status().idle > active
            assert b"x-accel-buffering: no" in data
        await preview.left.wait()


async def test_an_endless_body_of_a_client_that_left(tmp_path: Path) -> None:
    async with previewing(tmp_path) as preview:

        async def handle(stream: trio.SocketStream) -> None:
            await _read(preview, stream)
            preview.left.set()

        preview.handle = handle
        async with await preview.served.connect() as stream:
            await stream.send_all(preview.request(method="POST", head="Content-Length: 99999999999\r\n"))
            for _ in range(20):
                await stream.send_all(b"x" * 65536)
        await preview.left.wait()
        await until(lambda: not previews(preview)._open)


async def test_an_endless_answer_to_a_client_that_left(tmp_path: Path) -> None:
    async with previewing(tmp_path) as preview:

        async def handle(stream: trio.SocketStream) -> None:
            await preview.head(stream)
            await stream.send_all(OK + b"\r\n")
            while True:
                await stream.send_all(b"x" * 65536)

        preview.handle = handle
        async with await preview.served.connect() as stream:
            await stream.send_all(preview.request())
            await stream.receive_some()
        await preview.left.wait()
        await until(lambda: not previews(preview)._open)


async def _say_nothing(stream: trio.SocketStream) -> None:
    await trio.sleep_forever()


def previews(preview: Preview) -> Any:
    daemon: Any = preview.served.daemon
    return daemon._previews


async def test_how_many_at_a_time(tmp_path: Path) -> None:
    async with previewing(tmp_path, preview={"connections": 1}) as preview:
        preview.handle = _say_nothing
        async with await preview.served.connect() as stream:
            await stream.send_all(preview.request())
            await until(lambda: bool(previews(preview)._open))
            status, head, _ = await preview.get()
            assert (status, "retry-after: 1" in head) == (503, True)
        await until(lambda: not previews(preview)._open)
        preview.handle = partial(preview.answer, HI)
        assert (await preview.get())[0] == 200


async def test_the_end_of_a_space_ends_what_is_under_way(tmp_path: Path) -> None:
    async with previewing(tmp_path) as preview:
        preview.handle = _say_nothing
        async with await preview.served.connect() as stream:
            await stream.send_all(preview.request())
            await until(lambda: bool(previews(preview)._open))
            preview.space.kill("enough")
            assert parted(await stream.receive_some())[0] == 410


# --- smuggling -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("head", "body"),
    [
        ("Content-Length: 5\r\nTransfer-Encoding: chunked\r\n", b"0\r\n\r\n"),
        ("Content-Length: 5\r\nContent-Length: 6\r\n", b"hello!"),
        ("Content-Length: +5\r\n", b"hello"),
        ("Transfer-Encoding: xchunked\r\n", b"0\r\n\r\n"),
        ("Transfer-Encoding: chunked, gzip\r\n", b"0\r\n\r\n"),
        ("Transfer-Encoding: chunked\r\n", b"x\r\n"),
        ("Transfer-Encoding: chunked\r\n", b"2\r\nhiXX0\r\n\r\n"),
        ("X : y\r\n", b""),
        ("X: a\0b\r\n", b""),
    ],
)
async def test_requests_that_could_be_taken_in_two_ways(tmp_path: Path, head: str, body: bytes) -> None:
    async with previewing(tmp_path) as preview:
        preview.handle = partial(_read, preview)
        status = (await preview.get(method="POST", head=head, body=body))[0]
        assert status in (400, 501)


async def _read(preview: Preview, stream: trio.SocketStream) -> None:
    await preview.head(stream)
    while await stream.receive_some():
        pass


@pytest.mark.parametrize(
    "head",
    ["X: a\r\n b\r\n", "X: a\n", "X: a\r\n\tTransfer-Encoding: chunked\r\n", "Content-Length: 0\nX: y\r\n"],
)
async def test_lines_that_end_or_go_on_oddly_are_straightened(tmp_path: Path, head: str) -> None:
    """What h11 lets pass is written anew: the server never sees a bare LF or a folded line."""
    async with previewing(tmp_path) as preview:
        status = (await preview.get(method="POST", head=head))[0]
        assert status == 200
        lines, _, rest = preview.seen[0].partition(b"\r\n\r\n")
        assert b"\n" not in lines.replace(b"\r\n", b"")
        assert b"\r\n " not in lines
        assert b"\r\n\t" not in lines
        assert not re.search(rb"(?i)\r\ntransfer-encoding", lines)
        assert not rest


async def test_a_second_request_behind_the_first_is_dropped(tmp_path: Path) -> None:
    async with previewing(tmp_path) as preview:
        smuggled = b"GET /api/v1/languages HTTP/1.1\r\nHost: localhost\r\n\r\n"
        answer = await preview.served.ask(preview.request(method="POST", head="Content-Length: 0\r\n") + smuggled)
        assert answer.count(b"HTTP/1.1") == 1
        assert smuggled not in preview.seen[0]


@pytest.mark.parametrize("method", ["CONNECT", "TRACE"])
async def test_methods_that_are_none(tmp_path: Path, method: str) -> None:
    async with previewing(tmp_path) as preview:
        assert (await preview.get(method=method))[0] == 405
        assert not preview.seen


async def test_targets_that_are_no_paths(tmp_path: Path) -> None:
    async with previewing(tmp_path, preview=WILDCARD) as preview:
        for path in (f"http://{preview.host}{preview.path}", "*", f"{preview.host}:80"):
            preview.path = path
            assert (await preview.get())[0] == 400
        assert not preview.seen


async def test_a_head_that_is_too_large(tmp_path: Path) -> None:
    async with previewing(tmp_path) as preview:
        assert (await preview.get(head=f"X: {'x' * 20_000}\r\n"))[0] == 431
        assert not preview.seen


# --- WebSockets ------------------------------------------------------------------------------------------------

WEBSOCKET = (
    "Connection: keep-alive, Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
    "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
)
SWITCHED = (
    b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSet-Cookie: a=b\r\n"
    b"Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n"
)


async def _echo(preview: Preview, stream: trio.SocketStream) -> None:
    data = await preview.head(stream)
    await stream.send_all(SWITCHED + b"early " + data.partition(b"\r\n\r\n")[2])
    while data := await stream.receive_some():
        await stream.send_all(data)
    preview.left.set()


async def test_websockets_are_bytes_both_ways(tmp_path: Path) -> None:
    async with previewing(tmp_path) as preview:
        preview.handle = partial(_echo, preview)
        async with await preview.served.connect() as stream:
            await stream.send_all(
                preview.request("ws?a", head=f"Origin: null\r\n{WEBSOCKET}") + b"\x81\x00GET / HTTP/1.1"
            )
            data = b""
            while not data.endswith(b"GET / HTTP/1.1"):
                data += await stream.receive_some()
            head, _, rest = data.partition(b"\r\n\r\n")
            assert head.startswith(b"HTTP/1.1 101 ")
            assert b"sec-websocket-accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=" in head
            assert b"ookie" not in head
            assert rest.startswith(b"early ")
            sent = bytes(range(256)) * 4096
            async with trio.open_nursery() as nursery:
                nursery.start_soon(stream.send_all, sent)
                echoed = b""
                while len(echoed) < len(sent):
                    echoed += await stream.receive_some()
            assert echoed == sent
        await preview.left.wait()
        assert b"origin: http://localhost:3000\r\n" in preview.seen[0]
        await until(lambda: not previews(preview)._open)


async def test_a_server_that_closes_its_websocket(tmp_path: Path) -> None:
    async with previewing(tmp_path) as preview:
        preview.handle = partial(preview.answer, SWITCHED + b"last")
        assert (await preview.served.ask(preview.request(head=WEBSOCKET))).endswith(b"\r\n\r\nlast")


async def test_a_server_that_wants_no_websocket(tmp_path: Path) -> None:
    async with previewing(tmp_path) as preview:
        assert (await preview.get(head=WEBSOCKET))[::2] == (200, b"hi")
        preview.handle = partial(preview.answer, b"SSH-2.0-x\r\n")
        assert (await preview.get(head=WEBSOCKET))[0] == 502


async def test_pages_that_may_open_websockets_by_cookie(tmp_path: Path) -> None:
    async with previewing(tmp_path, preview=WILDCARD) as preview:
        cookie = f"Cookie: {preview.path.partition('?')[2]}\r\n"
        preview.handle = partial(preview.answer, SWITCHED + b"last")
        for origin, status in (("http://evil.org", 403), ("null", 403), (f"http://{preview.host}", 101)):
            head = f"{cookie}Origin: {origin}\r\n{WEBSOCKET}"
            preview.path = "/ws"
            assert (await preview.get(head=head))[0] == status
