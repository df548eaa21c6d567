"""The terminal's WebSocket over real sockets: trio-websocket's gaps, and clients that behave badly."""

import inspect
import json
import struct
from pathlib import Path
from typing import Any

import pytest
import trio
import trio.lowlevel
import trio_websocket
from server_fakes import HEAD, Client, Served, read_all, serve, until
from trio.testing import MockClock
from trio_websocket import ConnectionClosed

from runnerd.errors import BadRequest
from runnerd.server import logs
from runnerd.server.websocket import BURST, _Ear, choose_subprotocol
from runnerd.session.viewer import CHUNK
from runnerd.store.database import open_store

HANDSHAKE = (
    b"GET /api/v1/terminal HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
    b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n"
)


def text_frame(text: str) -> bytes:
    data = text.encode()
    assert len(data) < 126
    return bytes([0x81, 0x80 | len(data), 0, 0, 0, 0]) + data


def close_code(frames: bytes) -> int:
    """The code of a close frame, which must be the last."""
    head, size = frames[frames.rindex(b"\x88") :][:2]
    assert (head, len(frames) - frames.rindex(b"\x88") - 2) == (0x88, size)
    return struct.unpack_from(">H", frames, frames.rindex(b"\x88") + 2)[0]


async def raw(served: Served) -> trio.SocketStream:
    """A connection after its handshake, that answers nothing by itself."""
    stream = await served.connect()
    await stream.send_all(HANDSHAKE)
    answer = b""
    while not answer.endswith(b"\r\n\r\n"):
        answer += await stream.receive_some()
    assert answer.startswith(b"HTTP/1.1 101")
    return stream


async def start_raw(served: Served) -> trio.SocketStream:
    stream = await raw(served)
    await stream.send_all(text_frame(json.dumps({"type": "start", "stream": 1, "language": "echo", "code": ""})))
    await until(lambda: len(served.registry.started) > 0)
    return stream


async def closed(client: Client) -> tuple[int, str | None]:
    with pytest.raises(ConnectionClosed) as caught:
        while True:
            await client.connection.get_message()
    assert caught.value.reason is not None
    return caught.value.reason.code, caught.value.reason.reason


async def test_a_run_by_websocket(tmp_path: Path) -> None:
    async with serve(tmp_path) as served, served.terminal() as client:
        assert client.connection.subprotocol == "runnerd.v1"
        await client.start(7, mode="terminal")
        await client.type(b"abc", 7)
        message = await client.connection.get_message()
        assert isinstance(message, bytes)
        assert HEAD.unpack_from(message) == (1, 7, 0)
        assert message[HEAD.size :] == b"abc"
        served.registry.started[0].end()
        assert (await client.receive("exit"))["outcome"] == "exited"


async def test_subprotocols() -> None:
    assert choose_subprotocol(["other", "runnerd.v1"], ("runnerd.v1",)) == "runnerd.v1"
    assert choose_subprotocol([], ("runnerd.v1",)) is None
    with pytest.raises(BadRequest):
        choose_subprotocol(["runnerd.v2"], ("runnerd.v1",))


async def test_a_client_that_asks_for_no_subprotocol_is_served(tmp_path: Path) -> None:
    async with serve(tmp_path) as served, served.terminal(subprotocols=None) as client:
        assert client.connection.subprotocol is None
        await client.start()


async def test_a_key_in_a_header(tmp_path: Path) -> None:
    store = open_store("", tmp_path)
    secret = store.create_key(1).secret_key
    store.close()
    settings: dict[str, Any] = {"auth": {"mode": "keys"}}
    async with serve(tmp_path, settings) as served:
        for name, value in ((b"Authorization", f"Bearer {secret}"), (b"X-API-Key", secret)):
            async with served.terminal(extra_headers=[(name, value.encode())]) as client:
                await client.start()
        async with served.terminal() as client:
            await client.send("auth", key=secret)
            await client.start()
        async with served.terminal(extra_headers=[(b"X-API-Key", b"wrong")]) as client:
            assert (await client.receive("error"))["code"] == "unauthorized"
            assert (await closed(client))[0] == 4401


@pytest.mark.parametrize(
    "message",
    ["{", "[]", "1", '{"type": 7}', '{"type": "fly", "stream": 1}', '{"type": "start", "stream": "x"}', b"", b"\x09"],
)
async def test_bad_messages_are_answered_and_keep_the_connection(tmp_path: Path, message: str | bytes) -> None:
    async with serve(tmp_path) as served, served.terminal() as client:
        await client.connection.send_message(message)
        assert (await client.receive("error"))["code"] in ("bad_request", "not_json", "unknown_type")
        await client.start()


async def test_an_unknown_language_is_answered(tmp_path: Path) -> None:
    async with serve(tmp_path) as served, served.terminal() as client:
        await client.send("start", stream=3, language="klingon", code="")
        error = await client.receive("error")
        assert (error["stream"], error["code"], error["hint"]) == (3, "unknown_language", "known languages: echo")
        await client.start(3)


async def test_ten_megabytes_of_code_are_taken_or_refused_clearly(tmp_path: Path) -> None:
    code = "x" * 10_000_000
    async with serve(tmp_path) as served, served.terminal() as client:
        await client.start(code=code)
        assert served.registry.started[0].run.files == {"": code.encode()}
    async with serve(tmp_path, {"http": {"message_size": 1_000_000}}) as served:
        async with served.terminal() as other, served.terminal() as client:
            await other.start()
            with trio.move_on_after(30):
                try:
                    await client.send("start", stream=1, language="echo", code=code)
                except ConnectionClosed:
                    pass
                code_, reason = await closed(client)
                assert code_ == 1009
                assert "1000000" in (reason or "")
            await other.type(b"x")
            assert await other.output() == b"x"
        assert len(served.registry.started) == 1


async def test_text_that_is_not_utf_8_closes_with_its_code(tmp_path: Path) -> None:
    async with serve(tmp_path) as served, await raw(served) as stream:
        await stream.send_all(b"\x81\x82\0\0\0\0\xff\xfe")
        assert close_code(await read_all(stream)) == 1007


@pytest.mark.parametrize(
    "frame", [b"\x81\x02hi", b"\xf1\x80\0\0\0\0", b"\x83\x80\0\0\0\0"], ids=["unmasked", "rsv", "op"]
)
async def test_frames_that_break_the_protocol_end_the_connection(tmp_path: Path, frame: bytes) -> None:
    async with serve(tmp_path) as served, await start_raw(served) as stream:
        await stream.send_all(frame)
        await served.registry.started[0].killed.wait()
        assert close_code(await read_all(stream)) == 1002


@pytest.mark.parametrize("how", ["close", "reset", "half-frame"])
async def test_a_client_that_vanishes_takes_its_programs_along(tmp_path: Path, how: str) -> None:
    async with serve(tmp_path) as served:
        stream = await start_raw(served)
        if how == "reset":
            import socket

            stream.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        if how == "half-frame":
            await stream.send_all(b"\x81\xfe\x10\x00\0\0\0\0abc")
        await stream.aclose()
        await served.registry.started[0].killed.wait()
        async with served.terminal() as client:
            await client.start()


async def test_a_client_that_vanishes_while_it_waits_in_the_queue(tmp_path: Path) -> None:
    async with serve(tmp_path) as served:
        async with served.terminal() as client:
            served.registry.may_start = trio.Event()
            await client.send("start", stream=1, language="echo", code="")
            await until(lambda: served.registry.asked == 1)
        await until(lambda: served.registry.cancelled == 1)


async def test_a_client_that_answers_no_ping_is_dropped(autojump_clock: MockClock, tmp_path: Path) -> None:
    autojump_clock.autojump_threshold = 0.2
    async with serve(tmp_path) as served, await start_raw(served):
        begun = trio.current_time()
        await served.registry.started[0].killed.wait()
        assert 39 <= trio.current_time() - begun < 60


async def test_a_client_that_answers_pings_stays(autojump_clock: MockClock, tmp_path: Path) -> None:
    autojump_clock.autojump_threshold = 0.2
    settings = {"http": {"ping_interval": 1, "pong_deadline": 1}}
    async with serve(tmp_path, settings) as served, served.terminal() as client:
        await client.start()
        await trio.sleep(15)
        await client.type(b"x")
        assert await client.output() == b"x"


async def test_a_viewer_that_reads_nothing_is_dropped_and_slows_no_other(
    autojump_clock: MockClock, tmp_path: Path
) -> None:
    autojump_clock.autojump_threshold = 0.2
    settings = {"http": {"ping_interval": 3600}}
    async with serve(tmp_path, settings) as served, await start_raw(served), served.terminal() as other:
        slow = served.registry.started[0]
        await other.start()

        async def flood() -> None:
            for _ in range(10_000):
                slow.feed.append("stdout", b"x" * CHUNK)
                await trio.lowlevel.checkpoint()
                if slow.feed.stalled:
                    return

        await flood()
        assert slow.feed.stalled
        for _ in range(10):
            await other.type(b"k")
            assert await other.output() == b"k"
        assert not slow.killed.is_set()
        await slow.killed.wait()


async def test_closing_is_answered(tmp_path: Path) -> None:
    async with serve(tmp_path) as served, await raw(served) as stream:
        await stream.send_all(b"\x88\x82\0\0\0\0\x03\xe8")
        assert await stream.receive_some() == b"\x88\x02\x03\xe8"
        assert await stream.receive_some() == b""


def test_what_is_relied_on_inside_the_library() -> None:
    """It is pinned; should a newer one differ here, server/websocket.py has to follow."""
    library = trio_websocket.WebSocketConnection
    reader = inspect.getsource(library._reader_task)
    assert "async with self._send_channel:" in reader
    assert "await self._send_channel.send(msg)" in inspect.getsource(library._handle_message_event)
    assert "await self._stream.send_all(data)" in inspect.getsource(library._send)
    wrap = inspect.getsource(trio_websocket.wrap_server_stream)
    assert "nursery.start_soon(connection._reader_task)" in wrap
    assert "request = await connection._get_request()" in wrap


async def test_a_flood_of_messages_leaves_others_their_turn() -> None:
    ear, heard, turns = _Ear(), 0, 0

    async def hear(message: str | bytes) -> bool:
        nonlocal heard
        heard += 1
        return heard < 1000

    async def other() -> None:
        nonlocal turns
        while True:
            await trio.lowlevel.checkpoint()
            turns += 1

    async with trio.open_nursery() as nursery:
        nursery.start_soon(other)
        nursery.start_soon(ear.listen, hear)
        for _ in range(1000):
            await ear.send(b"x")
        assert turns >= 1000 / BURST / 2
        nursery.cancel_scope.cancel()


async def test_messages_wait_for_who_hears_them_and_then_come_in_order() -> None:
    ear, heard = _Ear(), list[str | bytes]()

    async def hear(message: str | bytes) -> bool:
        await trio.lowlevel.checkpoint()
        heard.append(message)
        return message != b"3"

    async def read() -> None:
        async with ear:
            for number in range(6):
                await ear.send(str(number).encode())

    async with trio.open_nursery() as nursery:
        nursery.start_soon(read)
        await trio.testing.wait_all_tasks_blocked()
        assert heard == []
        await ear.listen(hear)
    assert heard == [b"0", b"1", b"2", b"3"]


async def test_what_a_hearer_raises_is_its_owners() -> None:
    ear = _Ear()

    async def hear(message: str | bytes) -> bool:
        raise ValueError(message)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(ear.send, "x")
        with pytest.raises(ValueError, match="x"):
            await ear.listen(hear)


async def never(message: str | bytes) -> bool:
    raise AssertionError(message)


async def test_a_connection_that_ends_without_a_message_ends_the_listening() -> None:
    ear = _Ear()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(ear.aclose)
        await ear.listen(never)


async def test_a_hearer_speaks_with_its_owners_voice() -> None:
    """What is bound to the log by the task that listens is written by what it hears, in whichever task."""
    ear, seen = _Ear(), list[object]()

    async def hear(message: str | bytes) -> bool:
        seen.append(dict(logs._bound.get() or {}))
        return False

    async with trio.open_nursery() as nursery:
        nursery.start_soon(ear.send, "x")
        logs.bind(key="k_1")
        await ear.listen(hear)
    assert seen == [{"key": "k_1"}]
