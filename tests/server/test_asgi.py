"""HTTP on an accepted stream: what Hypercorn would do, and must not."""

import trio
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.routing import Route
from test_stream import pair

from runnerd.server.asgi import HttpServer

HEAD = b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"


async def hello(request: Request) -> PlainTextResponse:
    return PlainTextResponse("hello")


async def answer(server: HttpServer) -> bytes:
    """Of a connection whose first head was read already, up to its end."""
    stream, client = pair()
    stream.replay(HEAD)
    data = bytearray()
    async with client, trio.open_nursery() as nursery:
        nursery.start_soon(server.serve, stream)
        with trio.fail_after(5):
            async for part in client:
                data += part
                if data.endswith(b"hello"):
                    break
        nursery.cancel_scope.cancel()
    stream.abort()
    return bytes(data)


async def test_a_request_that_was_read_is_answered_though_the_daemon_stops() -> None:
    server = HttpServer(Starlette(routes=[Route("/", hello)]), head_size=16384)
    assert (await answer(server)).startswith(b"HTTP/1.1 200")
    await server.terminate()
    for _ in range(5):
        assert (await answer(server)).startswith(b"HTTP/1.1 200")
