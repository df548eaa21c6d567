"""A plain trio-websocket echo server on a free port of loopback, which it prints: the floor of a keystroke."""

from functools import partial

import trio
import trio_websocket


async def echo(request: trio_websocket.WebSocketRequest) -> None:
    connection = await request.accept()
    try:
        while True:
            await connection.send_message(await connection.get_message())
    except trio_websocket.ConnectionClosed:
        return


async def main() -> None:
    async with trio.open_nursery() as nursery:
        serve = partial(trio_websocket.serve_websocket, echo, "127.0.0.1", 0, None, handler_nursery=nursery)
        server = await nursery.start(serve)
        print(server.port, flush=True)


if __name__ == "__main__":
    trio.run(main)
