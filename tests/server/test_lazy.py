"""HTTP that is loaded when it is first asked for."""

import httpx
import pytest
import trio
from test_http import full, site
from trio.testing import MockClock

from runnerd.server.asgi import HttpServer
from runnerd.server.lazy import SOON, LazyHttp
from runnerd.server.stream import ConnectionStream

READY = b"GET /readyz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"


async def ask(http: LazyHttp) -> int:
    """The status of an answer over a connection of its own."""
    with trio.socket.socket() as listener:
        await listener.bind(("127.0.0.1", 0))
        listener.listen()
        client = await trio.open_tcp_stream(*listener.getsockname())
        accepted, _ = await listener.accept()
    data = b""
    async with client, trio.open_nursery() as nursery:
        nursery.start_soon(http.serve, ConnectionStream(trio.SocketStream(accepted), send_deadline=5))
        await client.send_all(READY)
        with trio.fail_after(5):
            async for part in client:
                data += part
    return int(data.split()[1])


@pytest.fixture
def made(monkeypatch: pytest.MonkeyPatch) -> list[HttpServer]:
    """The servers that are made."""
    servers: list[HttpServer] = []
    make = HttpServer.__init__

    def noted(self: HttpServer, *words: object, **named: object) -> None:
        servers.append(self)
        make(self, *words, **named)  # pyright: ignore[reportArgumentType]

    monkeypatch.setattr(HttpServer, "__init__", noted)
    return servers


async def test_first_requests_that_come_together_load_it_once(made: list[HttpServer]) -> None:
    http = LazyHttp(site(), head_size=16384, elsewhere=lambda head: False)
    assert not made
    statuses: list[int] = []

    async def one() -> None:
        statuses.append(await ask(http))

    async with trio.open_nursery() as nursery:
        for _ in range(5):
            nursery.start_soon(one)
    assert statuses == [httpx.codes.OK] * 5
    assert len(made) == 1


async def test_a_site_is_adopted_before_it_is_loaded_and_after(made: list[HttpServer]) -> None:
    http = LazyHttp(site(), head_size=16384, elsewhere=lambda head: False)
    http.adopt(site(full=full), head_size=16384)
    assert not made
    assert await ask(http) == httpx.codes.SERVICE_UNAVAILABLE
    http.adopt(site(), head_size=16384)
    assert await ask(http) == httpx.codes.OK
    assert len(made) == 1


async def test_it_is_loaded_soon_though_nobody_asks(made: list[HttpServer], autojump_clock: MockClock) -> None:
    http = LazyHttp(site(), head_size=16384, elsewhere=lambda head: False)
    begun = trio.current_time()
    await http.load_soon()
    assert trio.current_time() - begun >= SOON
    (loaded,) = made
    await http.load_soon()
    assert made == [loaded]


async def test_a_daemon_that_stops_before_any_request_loads_nothing(made: list[HttpServer]) -> None:
    http = LazyHttp(site(), head_size=16384, elsewhere=lambda head: False)
    await http.terminate()
    assert not made
