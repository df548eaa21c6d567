"""Real sockets, bad clients: each gets a clear answer or a time-out, and others go on."""

import io
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest
import trio
from server_fakes import Served, read_all, serve, until
from test_http import site
from trio.testing import MockClock

from runnerd.errors import Forbidden
from runnerd.server import address
from runnerd.server.asgi import HttpServer
from runnerd.server.head import Head
from runnerd.server.http import make_app
from runnerd.server.listener import Listener, Settings
from runnerd.server.origin import Gate
from runnerd.server.stream import ConnectionStream
from runnerd.store.database import open_store

GET = b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n"
CLOSE = b"Connection: close\r\n\r\n"
HANDSHAKE = (
    b"GET /api/v1/terminal HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
    b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n"
)


def parts(answer: bytes) -> tuple[int, dict[str, str], dict[str, Any]]:
    """Status, headers and JSON body of a whole answer."""
    head, _, body = answer.partition(b"\r\n\r\n")
    line, *fields = head.decode().split("\r\n")
    headers = dict(field.lower().split(": ", 1) for field in fields)
    assert int(headers["content-length"]) == len(body)
    return int(line.split()[1]), headers, json.loads(body)


def refused(answer: bytes, status: int, code: str) -> dict[str, str]:
    """Check a told error; its headers."""
    found, headers, body = parts(answer)
    assert (found, body["code"]) == (status, code), body
    assert set(body) - {"retry_after"} == {"type", "title", "status", "detail", "error", "code", "hint"}
    assert body["error"]
    assert (body["status"], body["detail"]) == (status, body["error"])
    assert headers["content-type"] == "application/problem+json"
    assert len(headers["x-request-id"]) >= 8
    assert headers["x-content-type-options"] == "nosniff"
    return headers


@pytest.mark.parametrize(
    ("request_bytes", "status", "code"),
    [
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"\0" * 600, 400, "bad_request"),
        (b"nonsense\r\n\r\n", 400, "bad_request"),
        (b"GET / HTTP/1.1\r\n\r\n", 400, "bad_request"),
        (b"GET / HTTP/1.1\r\nHost: localhost\r\nX: " + b"x" * 20_000 + b"\r\n\r\n", 431, "head_too_large"),
        (b"GET /" + b"x" * 20_000, 431, "head_too_large"),
        (HANDSHAKE.replace(b"Key: AAAA", b"Key: "), 400, "bad_request"),
        (HANDSHAKE.replace(b"Version: 13", b"Version: 12"), 426, "upgrade_required"),
        (HANDSHAKE.replace(b"terminal", b"nothing"), 404, "not_found"),
        (HANDSHAKE.replace(b"Host: localhost", b"Host: evil.example"), 403, "foreign_host"),
        (HANDSHAKE.replace(b"Upgrade\r\n", b"Upgrade\r\nOrigin: https://evil.example\r\n", 1), 403, "foreign_origin"),
        (HANDSHAKE.replace(b"Upgrade\r\n", b"Upgrade\r\nAuthorization: Basic eA==\r\n", 1), 401, "unauthorized"),
        (
            HANDSHAKE.replace(b"Upgrade\r\n", b"Upgrade\r\nSec-WebSocket-Protocol: chat, superchat\r\n", 1),
            400,
            "unknown_subprotocol",
        ),
        (GET.replace(b"localhost", b"evil.example") + CLOSE, 403, "foreign_host"),
    ],
)
async def test_bad_requests_get_a_clear_answer(tmp_path: Path, request_bytes: bytes, status: int, code: str) -> None:
    async with serve(tmp_path) as served:
        refused(await served.ask(request_bytes), status, code)
        assert (await served.ask(GET + CLOSE)).startswith(b"HTTP/1.1 200")


async def test_a_version_of_websocket_that_is_spoken_is_named(tmp_path: Path) -> None:
    async with serve(tmp_path) as served:
        headers = refused(await served.ask(HANDSHAKE.replace(b"Version: 13", b"Version: 8")), 426, "upgrade_required")
        assert headers["sec-websocket-version"] == "13"


@pytest.mark.parametrize("sent", [b"", b"G", GET, HANDSHAKE[:-2]])
async def test_a_head_that_is_never_whole_times_out(autojump_clock: MockClock, tmp_path: Path, sent: bytes) -> None:
    autojump_clock.autojump_threshold = 0.1
    async with serve(tmp_path) as served, await served.connect() as stream:
        begun = trio.current_time()
        if sent:
            await stream.send_all(sent)
        refused(await read_all(stream), 408, "head_timeout")
        assert 10 <= trio.current_time() - begun < 20


async def test_bytes_that_trickle_do_not_stretch_the_time(autojump_clock: MockClock, tmp_path: Path) -> None:
    autojump_clock.autojump_threshold = 0.1
    async with serve(tmp_path) as served, await served.connect() as stream:
        begun = trio.current_time()

        async def trickle() -> None:
            for byte in GET:
                await stream.send_all(bytes([byte]))
                await trio.sleep(1)

        async with trio.open_nursery() as nursery:
            nursery.start_soon(trickle)
            refused(await read_all(stream), 408, "head_timeout")
            nursery.cancel_scope.cancel()
        assert trio.current_time() - begun < 20


async def test_a_client_that_leaves_before_its_head_is_whole_is_forgotten(tmp_path: Path) -> None:
    async with serve(tmp_path) as served:
        for sent in (b"", b"GET /"):
            stream = await served.connect()
            if sent:
                await stream.send_all(sent)
            await stream.aclose()
        async with served.terminal() as client:
            await client.start()
            metrics = (await served.ask(GET.replace(b"healthz", b"metrics") + CLOSE)).decode()
            assert "runnerd_connections 2\n" in metrics  # the terminal and the question itself


async def test_a_thousand_silent_connections_leave_room_and_go(autojump_clock: MockClock, tmp_path: Path) -> None:
    autojump_clock.autojump_threshold = 0.5
    async with serve(tmp_path) as served, served.terminal() as client:
        await client.start()
        before = len(os.listdir("/proc/self/fd"))
        silent = [await served.connect() for _ in range(1000)]
        await client.type(b"still here")
        assert await client.output() == b"still here"
        assert (await served.ask(GET + CLOSE)).startswith(b"HTTP/1.1 200")
        for stream in silent:
            refused(await read_all(stream), 408, "head_timeout")
            await stream.aclose()
        metrics = (await served.ask(GET.replace(b"healthz", b"metrics") + CLOSE)).decode()
        assert "runnerd_connections 2\n" in metrics
        await until(lambda: len(os.listdir("/proc/self/fd")) == before)


async def test_connections_beyond_the_maximum_are_turned_away(tmp_path: Path) -> None:
    async with serve(tmp_path, {"http": {"connections": 2}}) as served:
        async with served.terminal() as client, served.terminal():
            await client.start()
            stream = await served.connect()
            async with stream:
                headers = refused(await read_all(stream), 503, "busy")
                assert headers["retry-after"] == "5"
            await client.type(b"x")
            assert await client.output() == b"x"
        async with served.terminal() as client:
            await client.start()


async def test_a_websocket_may_follow_requests_on_one_connection(tmp_path: Path) -> None:
    """As reverse proxies do that keep connections alive."""
    async with serve(tmp_path) as served, await served.connect() as stream:
        await stream.send_all(GET + b"\r\n")
        answer = b""
        while not answer.endswith(b'{"status":"ok"}'):
            answer += await stream.receive_some()
        await stream.send_all(GET + b"\r\n" + HANDSHAKE)  # pipelined
        answer = b""
        while not answer.endswith(b"\r\n\r\n") or b"101" not in answer:
            answer += await stream.receive_some()
        assert answer.count(b"HTTP/1.1 200") == 1
        assert b"s-websocket-extensions" not in answer.lower()
        await stream.send_all(b"\x89\x80\0\0\0\0")
        assert await stream.receive_some() == b"\x8a\x00"


async def test_an_upgrade_to_something_else_is_an_ordinary_request(tmp_path: Path) -> None:
    settings = b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAAP__\r\n\r\n"
    async with serve(tmp_path) as served, await served.connect() as stream:
        await stream.send_all(GET + settings)
        await stream.send_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")
        answer = await read_all(stream)
        assert answer.startswith(b"HTTP/1.1 200")
        assert b"HTTP/1.1 403" in answer
        assert b"101" not in answer.split(b"\r\n")[0]


class BrokenHttp:
    async def serve(self, stream: ConnectionStream) -> Head | None:
        raise ExceptionGroup("from a library", [ZeroDivisionError("boom"), OSError("gone")])


async def test_what_a_connection_raises_stays_in_it() -> None:
    async def websocket(stream: ConnectionStream, head: Head) -> None:
        raise Forbidden("not you")

    listener = Listener(Settings(), Gate(loopback=False), BrokenHttp(), {"/api/v1/terminal": websocket})
    listeners = await trio.open_tcp_listeners(0, host="127.0.0.1")
    port = listeners[0].socket.getsockname()[1]
    async with trio.open_nursery() as nursery:
        sockets: list[Any] = [each.socket for each in listeners]
        nursery.start_soon(listener.accept, [each._sock.dup() for each in sockets], nursery)
        served = Served(port)
        assert await served.ask(GET + CLOSE) == b""
        refused(await served.ask(HANDSHAKE), 403, "forbidden")
        assert await served.ask(GET + CLOSE) == b""
        await until(lambda: listener.open == 0)
        nursery.cancel_scope.cancel()
    for each in listeners:
        await each.aclose()
    assert (listener.accepted, listener.refused) == (3, 0)


async def test_a_unix_socket_serves_as_well(tmp_path: Path) -> None:
    where = address.UnixAddress(tmp_path / "socket")
    sockets = address.listen(where)

    async def websocket(stream: ConnectionStream, head: Head) -> None:
        raise Forbidden("reached")

    http = HttpServer(make_app(site()), head_size=16384)
    listener = Listener(Settings(), Gate(loopback=True), http, {"/api/v1/terminal": websocket})
    async with trio.open_nursery() as nursery:
        nursery.start_soon(listener.accept, sockets, nursery)
        async with await trio.open_unix_socket(str(where.path)) as stream:
            await stream.send_all(HANDSHAKE)
            refused(await read_all(stream), 403, "forbidden")
        async with await trio.open_unix_socket(str(where.path)) as stream:
            await stream.send_all(GET + CLOSE)
            assert (await read_all(stream)).endswith(b'{"status":"ok"}')
        nursery.cancel_scope.cancel()
    address.close(where, sockets)


async def test_a_body_that_nobody_wants_is_refused(tmp_path: Path) -> None:
    post = GET.replace(b"GET", b"POST") + b"Content-Length: 1000\r\n"
    async with serve(tmp_path) as served:
        headers = refused(await served.ask(post + CLOSE + b"x" * 1000), 405, "method_not_allowed")
        assert set(headers["allow"].split(", ")) == {"get", "head"}
        refused(await served.ask(post + b"\r\n"), 405, "method_not_allowed")


async def test_http_clients_work_over_kept_connections(tmp_path: Path) -> None:
    async with serve(tmp_path) as served, httpx.AsyncClient(base_url=served.url) as client:
        for _ in range(3):
            assert (await client.get("/healthz")).json() == {"status": "ok"}
        metrics = (await client.get("/metrics")).text
        assert "runnerd_connections_total 1\n" in metrics
        head = await client.head("/healthz")
        assert (head.status_code, head.content, head.headers["content-length"]) == (200, b"", "15")
        assert (await client.get("/healthz", headers={"x-long": "x" * 20_000})).status_code == 431
        assert (await client.get("/healthz")).status_code == 200


# --- bodies that are never whole -------------------------------------------------------------------------------

MIB = 1024**2
POST = b"POST /api/v1/execute HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"


def announced(size: int) -> bytes:
    return POST + b"Content-Length: %d\r\n\r\n" % size


@pytest.mark.parametrize(
    "sent", [announced(16 * MIB), announced(MIB) + b"x" * (MIB - 1), POST + b"Transfer-Encoding: chunked\r\n\r\n1\r\nx"]
)
async def test_a_body_that_is_never_whole_times_out(autojump_clock: MockClock, tmp_path: Path, sent: bytes) -> None:
    autojump_clock.autojump_threshold = 0.1
    async with serve(tmp_path, {"http": {"body_timeout": 4}}) as served, await served.connect() as stream:
        begun = trio.current_time()
        await stream.send_all(sent)
        assert refused(await read_all(stream), 408, "body_timeout")["connection"] == "close"
        assert 4 <= trio.current_time() - begun < 8
        metrics = (await served.ask(GET.replace(b"healthz", b"metrics") + CLOSE)).decode()
        assert "runnerd_connections 1\n" in metrics


async def test_a_body_that_trickles_does_not_stretch_the_time(autojump_clock: MockClock, tmp_path: Path) -> None:
    autojump_clock.autojump_threshold = 0.1
    async with serve(tmp_path, {"http": {"body_timeout": 4}}) as served, await served.connect() as stream:
        await stream.send_all(announced(1000))
        begun = trio.current_time()

        async def trickle() -> None:
            for _ in range(100):
                await stream.send_all(b"x")
                await trio.sleep(1)

        async with trio.open_nursery() as nursery:
            nursery.start_soon(trickle)
            refused(await receive_until(stream, lambda data: data.endswith(b"}")), 408, "body_timeout")
            nursery.cancel_scope.cancel()
        assert trio.current_time() - begun < 8


@pytest.mark.parametrize("accept", [b"*/*", b"text/event-stream"])
async def test_a_run_may_last_longer_than_its_body_may(
    autojump_clock: MockClock, tmp_path: Path, accept: bytes
) -> None:
    autojump_clock.autojump_threshold = 0.1
    body = b'{"language": "echo", "code": ""}'
    async with serve(tmp_path, {"http": {"body_timeout": 2}}) as served, await served.connect() as stream:
        await stream.send_all(POST + b"Accept: %s\r\nConnection: close\r\n" % accept)
        await trio.sleep(1)
        await stream.send_all(b"Content-Length: %d\r\n\r\n" % len(body) + body[:-1])
        await trio.sleep(0.5)
        await stream.send_all(body[-1:])
        await until(lambda: bool(served.registry.started))
        await trio.sleep(4)
        served.registry.started[0].end()
        answer = await read_all(stream)
        assert answer.startswith(b"HTTP/1.1 200")
        assert b"exit" in answer


# --- proxies in front --------------------------------------------------------------------------------------------

BEHIND = {
    "http": {"trusted_proxies": ["127.0.0.1"], "proxy_protocol": True},
    "quota": {"address": {"runs_per_minute": 1}},
}
V1 = b"PROXY TCP4 192.0.2.1 203.0.113.9 4711 443\r\n"
V2 = b"\r\n\r\n\0\r\nQUIT\n\x21\x11\x00\x0c\xc0\x00\x02\x01\xcb\x00\x71\x09\x12\x67\x01\xbb"
HEALTH_CHECK = b"\r\n\r\n\0\r\nQUIT\n\x20\x00\x00\x00"


@pytest.mark.parametrize("header", [V1, V2, HEALTH_CHECK])
async def test_a_trusted_proxy_begins_by_its_header(tmp_path: Path, header: bytes) -> None:
    async with serve(tmp_path, BEHIND) as served:
        assert (await served.ask(header + GET + CLOSE)).startswith(b"HTTP/1.1 200")
        stream = await served.connect()
        async with stream:
            for byte in header + GET + CLOSE:
                await stream.send_all(bytes([byte]))
            assert (await read_all(stream)).startswith(b"HTTP/1.1 200")


async def test_only_trusted_proxies_send_headers_of_the_proxy_protocol(
    tmp_path: Path,
) -> None:
    async with serve(tmp_path, BEHIND) as served:
        refused(await served.ask(GET + CLOSE), 400, "bad_proxy_header")
    untrusted = {"http": {"trusted_proxies": ["10.0.0.0/8"], "proxy_protocol": True}}
    for settings in (untrusted, {"http": {"trusted_proxies": ["127.0.0.1"]}}):
        async with serve(tmp_path, settings) as served:
            refused(await served.ask(V1 + GET + CLOSE), 400, "bad_request")
            assert (await served.ask(GET + CLOSE)).startswith(b"HTTP/1.1 200")


@pytest.mark.parametrize("sent", [b"", V1[:-2], V2[:20]])
async def test_a_proxy_header_that_is_never_whole_times_out(
    autojump_clock: MockClock, tmp_path: Path, sent: bytes
) -> None:
    autojump_clock.autojump_threshold = 0.1
    async with serve(tmp_path, BEHIND) as served, await served.connect() as stream:
        if sent:
            await stream.send_all(sent)
        refused(await read_all(stream), 408, "head_timeout")


async def terminal_through(served: Served, before: bytes, forwarded: bytes = b"") -> bytes:
    """Start a program over a WebSocket of a proxy's connection; the frame that answers."""
    start = b'{"type": "start", "language": "echo", "code": ""}'
    async with await served.connect() as stream:
        await stream.send_all(before + HANDSHAKE.replace(b"Host: localhost\r\n", b"Host: localhost\r\n" + forwarded))
        await receive_until(stream, lambda data: b"101" in data and data.endswith(b"\r\n\r\n"))
        await stream.send_all(b"\x81" + bytes([0x80 | len(start)]) + b"\0\0\0\0" + start)
        return await receive_until(stream, lambda data: data.endswith(b"}"))


async def receive_until(stream: trio.SocketStream, enough: Callable[[bytes], bool]) -> bytes:
    data = b""
    while not enough(data):
        more = await stream.receive_some()
        assert more, data
        data += more
    return data


async def test_clients_count_by_the_addresses_that_proxies_tell(tmp_path: Path) -> None:
    other = V1.replace(b"192.0.2.1", b"192.0.2.2")
    async with serve(tmp_path, BEHIND) as served:
        assert b"started" in await terminal_through(served, V1)
        answer = await terminal_through(served, V2)
        assert b'"quota"' in answer
        assert b'"retry_after"' in answer
        assert b"started" in await terminal_through(served, other)
        lie = b"X-Forwarded-For: 192.0.2.77\r\n"
        assert b'"quota"' in await terminal_through(served, other, lie)  # it is a client's word
    forwarding = {**BEHIND, "http": {"trusted_proxies": ["127.0.0.1"]}}
    async with serve(tmp_path, forwarding) as served:
        for client, word in ((b"192.0.2.1", b"started"), (b"192.0.2.1", b'"quota"'), (b"192.0.2.2", b"started")):
            forwarded = b"X-Forwarded-For: 8.8.8.8, " + client + b"\r\n"
            assert word in await terminal_through(served, b"", forwarded)


async def test_a_websocket_that_follows_requests_counts_by_its_own_head(tmp_path: Path) -> None:
    settings = {**BEHIND, "http": {"trusted_proxies": ["127.0.0.1"]}}
    async with serve(tmp_path, settings) as served:
        for client in (b"192.0.2.1", b"192.0.2.2"):
            forwarded = b"X-Forwarded-For: " + client + b"\r\n"
            before = GET + b"X-Forwarded-For: 192.0.2.1\r\n\r\n"
            assert b"started" in await terminal_through(served, before, forwarded)


async def test_a_request_has_one_id_in_its_answer_and_in_the_log(tmp_path: Path, written_log: io.StringIO) -> None:
    settings = {"http": {"trusted_proxies": ["127.0.0.1"]}, "auth": {"mode": "keys", "query_key": True}}
    sent = HANDSHAKE.replace(b"Host: localhost\r\n", b"Host: localhost\r\nX-Request-Id: abc-12345\r\n")
    async with serve(tmp_path, settings) as served, await served.connect() as stream:
        store = open_store("", tmp_path)
        secret = store.create_key(1).secret_key.encode()
        store.close()
        await stream.send_all(sent.replace(b"/terminal", b"/terminal?api_key=" + secret))
        assert b"X-Request-Id: abc-12345\r\n" in await stream.receive_some()
        served.registry.failure = ZeroDivisionError()
        start = b'{"type": "start", "language": "echo", "code": ""}'
        await stream.send_all(b"\x81" + bytes([0x80 | len(start)]) + b"\0\0\0\0" + start)
        assert b'"internal"' in await stream.receive_some()
    written = written_log.getvalue()
    assert "request=abc-12345 client=127.0.0.1 key=rpk_" in written
    assert secret.decode() not in written


async def test_a_body_beyond_the_limit_is_refused_before_it_is_sent(tmp_path: Path) -> None:
    post = GET.replace(b"GET", b"POST") + b"Content-Length: 5000\r\n"
    async with serve(tmp_path, {"http": {"message_size": 4096}}) as served:
        refused(await served.ask(post + CLOSE), 413, "too_large")
