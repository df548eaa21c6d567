"""Protocol 003's routes through a real listener: POST and DELETE /session, and who watches."""

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
from server_fakes import FakeSession, Served, serve
from trio_websocket import ConnectionClosed, WebSocketConnection, open_websocket_url

from runnerd.errors import Busy
from runnerd.sandbox.spec import Outcome
from runnerd.session.viewer import StateChange
from runnerd.store.database import open_store

BODY = {"language": "echo", "code": "1"}


@asynccontextmanager
async def serving(
    tmp_path: Path, settings: dict[str, Any] | None = None
) -> AsyncIterator[tuple[Served, httpx.AsyncClient]]:
    async with serve(tmp_path, settings) as served, httpx.AsyncClient(base_url=served.url, timeout=20) as client:
        await client.get("/healthz")  # its registry is made when it serves
        yield served, client


async def made(served: Served, client: httpx.AsyncClient) -> FakeSession:
    answer = await client.post("/session", json=BODY)
    assert answer.status_code == 200
    assert answer.json() == {"sessionId": served.registry.started[-1].id}
    return served.registry.started[-1]


@asynccontextmanager
async def watching(served: Served, session: str, query: str = "") -> AsyncIterator[WebSocketConnection]:
    url = f"ws://127.0.0.1:{served.port}/ws/session/{session}{query}"
    async with open_websocket_url(url) as connection:
        try:
            yield connection
        finally:
            await connection._stream.aclose()


async def hear(connection: WebSocketConnection) -> dict[str, Any]:
    message = await connection.get_message()
    assert isinstance(message, str)
    return json.loads(message)


async def all_of(connection: WebSocketConnection) -> list[dict[str, Any]]:
    """What is told until the server closes, which must be with 1000."""
    told: list[dict[str, Any]] = []
    with pytest.raises(ConnectionClosed) as caught:
        while True:
            told.append(await hear(connection))
    assert caught.value.reason is not None
    assert caught.value.reason.code == 1000
    return told


async def refused(served: Served, path: str) -> tuple[int, str]:
    """Status and error code that a handshake is answered with."""
    head = f"GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
    answer = await served.ask(f"{head}Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {'A' * 22}==\r\n\r\n".encode())
    first, _, rest = answer.partition(b"\r\n")
    return int(first.split()[1]), json.loads(rest.partition(b"\r\n\r\n")[2])["code"]


def check_error(answer: httpx.Response, status: int, code: str) -> None:
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    assert (answer.json()["status"], answer.json()["code"]) == (status, code)


@pytest.mark.parametrize(
    ("content", "code"),
    [
        (b"", "not_json"),
        (b"{", "not_json"),
        (b"\xff", "not_json"),
        (b"[]", "not_json"),
        (b"{}", "bad_request"),
        (b'{"language": "echo"}', "bad_request"),
        (b'{"language": "echo", "code": 3}', "bad_request"),
        (b'{"language": "klingon", "code": ""}', "unknown_language"),
    ],
)
async def test_a_wrong_request_has_a_status(tmp_path: Path, content: bytes, code: str) -> None:
    async with serving(tmp_path) as (served, client):
        check_error(await client.post("/session", content=content), 400, code)
        assert not served.registry.started


async def test_a_full_daemon_and_a_large_body_have_a_status(tmp_path: Path) -> None:
    async with serving(tmp_path, {"http": {"message_size": 4096}}) as (served, client):
        check_error(await client.post("/session", content=b"x" * 5000), 413, "too_large")
        served.registry.failure = Busy("full", retry_after=4)
        answer = await client.post("/session", json=BODY)
        check_error(answer, 503, "busy")
        assert answer.headers["retry-after"] == "4"


async def test_only_whoever_makes_a_session_needs_a_key(tmp_path: Path) -> None:
    store = open_store("", tmp_path)
    key = store.create_key(1).secret_key
    store.close()
    async with serving(tmp_path, {"auth": {"mode": "keys"}}) as (served, client):
        check_error(await client.post("/session", json=BODY), 401, "unauthorized")
        for headers in ({"X-API-Key": "wrong"}, {"Authorization": f"Basic {key}"}):
            check_error(await client.post("/session", json=BODY, headers=headers), 401, "unauthorized")
        assert not served.registry.started
        for headers in ({"X-API-Key": key}, {"Authorization": f"Bearer {key}"}):
            answer = await client.post("/session", json=BODY, headers=headers)
            assert answer.status_code == 200
        async with watching(served, answer.json()["sessionId"]) as connection:
            assert (await hear(connection))["state"] == "running"
        assert (await client.delete(f"/session/{answer.json()['sessionId']}")).status_code == 204


async def test_what_was_made_is_watched_to_its_end(tmp_path: Path) -> None:
    async with serving(tmp_path) as (served, client):
        session = await made(served, client)
        assert (session.run.mode, session.run.files) == ("split", {"": b"1"})
        async with watching(served, session.id) as first, watching(served, session.id) as second:
            for connection in (first, second):
                assert await hear(connection) == {"type": "state", "state": "running"}
            session.feed.mark(StateChange("waiting"))
            for connection in (first, second):
                assert await hear(connection) == {"type": "state", "state": "waiting"}
            await first.send_message('{"type": "input", "data": "typed\\n"}')
            for connection in (first, second):
                assert await hear(connection) == {"type": "stdout", "data": "typed\n", "offset": 0}
            session.feed.append("stderr", b"oops")
            session.end(Outcome.EXITED, 3)
            for connection in (first, second):
                told = await all_of(connection)
                assert told[0] == {"type": "stderr", "data": "oops", "offset": 6}
                assert (told[1]["state"], told[1]["exitCode"], told[1]["reason"]) == ("finished", 3, "exited")
                assert len(told) == 2


async def test_a_watcher_that_leaves_ends_nothing(tmp_path: Path) -> None:
    async with serving(tmp_path) as (served, client):
        session = await made(served, client)
        for _ in range(2):
            async with watching(served, session.id) as connection:
                await hear(connection)
        assert not session.killed.is_set()


@pytest.mark.parametrize(("query", "text"), [("", "0123456789"), ("?offset=0", "0123456789"), ("?offset=4", "456789")])
async def test_who_comes_after_the_end_hears_it_all(tmp_path: Path, query: str, text: str) -> None:
    async with serving(tmp_path) as (served, client):
        session = await made(served, client)
        session.feed.append("stdout", b"01234")
        session.feed.append("stderr", b"56789")
        session.end()
        async with watching(served, session.id, query) as connection:
            told = await all_of(connection)
            assert "".join(each.get("data", "") for each in told) == text
            assert told[-1]["state"] == "finished"


async def test_an_offset_beyond_the_end_waits_for_it(tmp_path: Path) -> None:
    async with serving(tmp_path) as (served, client):
        session = await made(served, client)
        session.feed.append("stdout", b"01234")
        async with watching(served, session.id, "?offset=999") as connection:
            assert (await hear(connection))["state"] == "running"
            session.end()
            assert [each["type"] for each in await all_of(connection)] == ["state"]


@pytest.mark.parametrize("offset", ["-1", "x", "%20", "1.5", "1e3", "0x1", "9" * 16, "%D9%A3", "%00"])
async def test_a_wrong_offset_is_refused_by_the_handshake(tmp_path: Path, offset: str) -> None:
    async with serving(tmp_path) as (served, client):
        session = await made(served, client)
        assert await refused(served, f"/ws/session/{session.id}?offset={offset}") == (400, "bad_request")
        assert not session.feed.viewers


async def test_a_session_that_is_not_there(tmp_path: Path) -> None:
    async with serving(tmp_path) as (served, client):
        check_error(await client.delete("/session/nobody"), 404, "not_found")
        check_error(await client.get("/ws/session/nobody"), 426, "upgrade_required")
        check_error(await client.get("/session"), 405, "method_not_allowed")
        for name in ("nobody", "", "a/b"):
            assert await refused(served, f"/ws/session/{name}") == (404, "not_found")


async def test_delete_ends_it_for_all(tmp_path: Path) -> None:
    async with serving(tmp_path) as (served, client):
        session = await made(served, client)
        async with watching(served, session.id) as first, watching(served, session.id) as second:
            answer = await client.delete(f"/session/{session.id}")
            assert (answer.status_code, answer.content) == (204, b"")
            for connection in (first, second):
                last = (await all_of(connection))[-1]
                assert (last["state"], last["reason"], last["exitCode"]) == ("terminated", "killed", None)
        assert (await client.delete(f"/session/{session.id}")).status_code == 204
