"""HTTP that is loaded after the daemon's start."""

from pathlib import Path

import httpx
import pytest
import trio
from server_fakes import read_all, serve, until
from test_http import full, site
from test_stream import pair
from trio.testing import MockClock

from runnerd.server.asgi import HttpServer
from runnerd.server.lazy import SOON, LazyHttp

READY = b"GET /readyz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"


async def ask(http: LazyHttp) -> int:
    """The status of an answer over a connection of its own."""
    stream, client = pair()
    async with client, trio.open_nursery() as nursery:
        nursery.start_soon(http.serve, stream)
        await client.send_all(READY)
        with trio.fail_after(5):
            return int((await read_all(client)).split()[1])


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


async def test_a_daemon_loads_it_soon_though_nobody_asks(
    made: list[HttpServer], autojump_clock: MockClock, tmp_path: Path
) -> None:
    autojump_clock.autojump_threshold = 0.1
    async with serve(tmp_path) as served, served.terminal() as client:
        await client.start()
        await trio.sleep(SOON - 1)
        assert not made
        await trio.sleep(2)
        await until(lambda: bool(made))
        assert (await served.ask(READY)).startswith(b"HTTP/1.1 200")
        assert len(made) == 1


async def test_a_daemon_that_stops_before_any_request_loads_nothing(made: list[HttpServer]) -> None:
    http = LazyHttp(site(), head_size=16384, elsewhere=lambda head: False)
    await http.terminate()
    assert not made
