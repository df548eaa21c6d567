"""What the gateway filter refuses is told in every protocol's own words, and the connection goes on."""

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
import trio
from server_fakes import Served, serve, until
from trio_websocket import WebSocketConnection, open_websocket_url

BOMB = ":(){ :|:& };:"
RULE = "the rule fork-bomb refuses it"


@pytest.fixture
async def served(tmp_path: Path) -> AsyncIterator[Served]:
    async with serve(tmp_path) as served:
        yield served
        assert served.registry.asked == 1, "only the harmless run may have got so far"


@asynccontextmanager
async def connecting(served: Served) -> AsyncIterator[WebSocketConnection]:
    async with open_websocket_url(f"ws://127.0.0.1:{served.port}/ws") as connection:
        try:
            yield connection
        finally:
            await connection._stream.aclose()  # the library leaves its socket open when the server closed first


async def answer(connection: WebSocketConnection, **message: Any) -> dict[str, Any]:
    await connection.send_message(json.dumps(message))
    with trio.fail_after(5):
        return json.loads(await connection.get_message())


@asynccontextmanager
async def asking(served: Served) -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(base_url=served.url, timeout=5) as client:
        yield client


async def test_terminal(served: Served) -> None:
    async with served.terminal() as client:
        await client.send("start", stream=1, language="echo", code=BOMB)
        error = await client.receive("error")
        assert (error["code"], error["stream"]) == ("filtered", 1)
        assert RULE in error["message"]
        await client.start(stream=1)


async def test_execute(served: Served) -> None:
    async with connecting(served) as connection:
        error = await answer(connection, action="execute", id="a", language="echo", code=BOMB)
        assert (error["code"], error["id"]) == ("filtered", "a")
        assert RULE in error["error"]
        await connection.send_message(json.dumps({"action": "execute", "id": "a", "language": "echo", "code": "1"}))
        await until(lambda: bool(served.registry.started))


async def test_widget(served: Served) -> None:
    async with connecting(served) as connection:
        error = await answer(connection, event="run_code", data={"language": "echo", "code": BOMB})
        assert (error["event"], error["data"]["code"]) == ("error", "filtered")
        assert RULE in str(error["data"])
        await connection.send_message(json.dumps({"event": "run_code", "data": {"language": "echo", "code": "1"}}))
        await until(lambda: bool(served.registry.started))


@pytest.mark.parametrize("accept", ["application/json", "text/event-stream"])
async def test_a_request(served: Served, accept: str) -> None:
    async def end() -> None:
        await until(lambda: bool(served.registry.started))
        served.registry.started[0].end()

    async with asking(served) as client:
        client.headers["Accept"] = accept
        refused = await client.post("/api/v1/execute", json={"language": "echo", "code": BOMB})
        assert (refused.status_code, refused.json()["code"]) == (400, "filtered")
        assert RULE in refused.text
        async with trio.open_nursery() as nursery:
            nursery.start_soon(end)
            answered = await client.post("/api/v1/execute", json={"language": "echo", "code": "1"})
        assert answered.status_code == 200


async def test_sessions(served: Served) -> None:
    async with asking(served) as client:
        refused = await client.post("/session", json={"language": "echo", "code": BOMB})
        assert (refused.status_code, refused.json()["code"]) == (400, "filtered")
        assert RULE in refused.text
        assert (await client.post("/session", json={"language": "echo", "code": "1"})).json()["sessionId"]
