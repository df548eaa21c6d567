"""The daemon's life: readiness, signals, draining."""

import io
import logging
import os
import signal
import socket
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import httpx
import pytest
import trio
import trio.testing
from server_fakes import Client, Served, read_all, serve, until
from trio_websocket import ConnectionClosed

from runnerd.sandbox import spawn
from runnerd.server import orphans
from runnerd.store.database import open_store

GET = b"GET /readyz HTTP/1.1\r\nHost: localhost\r\n"


async def left(client: Client) -> int:
    with pytest.raises(ConnectionClosed) as caught:
        await client.connection.get_message()
    assert caught.value.reason is not None
    return caught.value.reason.code


async def refuses(served: Served) -> None:
    """Wait until no new connection is accepted."""
    while True:
        try:
            await (await served.connect()).aclose()
        except OSError:
            return


async def test_the_manager_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(tmp_path / "notify"))
        monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "notify"))
        async with serve(tmp_path) as served:
            ready = await trio.to_thread.run_sync(manager.recv, 1000)
            assert ready.startswith(b"READY=1\nSTATUS=listening on http://127.0.0.1:")
            assert b"limits: best-effort" in ready
            os.kill(os.getpid(), signal.SIGTERM)
            await served.stopped.wait()
        assert manager.recv(1000) == b"STOPPING=1"


async def test_a_reload_changes_what_comes_after_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    settings: dict[str, Any] = {"boxes": {"max": 5}, "http": {"hosts": ["old.example"]}}
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(tmp_path / "notify"))
        monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "notify"))

        async def told() -> bytes:
            return await trio.to_thread.run_sync(manager.recv, 1000)

        async with serve(tmp_path, settings) as served, served.terminal() as client:
            assert (await told()).startswith(b"READY=1")
            await client.start()
            with caplog.at_level(logging.INFO, "runnerd"):
                settings |= {"boxes": {"max": 7}, "http": {"hosts": ["new.example"]}, "node": "n2"}
                settings |= {"auth": {"mode": "keys"}}
                os.kill(os.getpid(), signal.SIGHUP)
                assert (await next_but_status(told)).startswith(b"RELOADING=1\nMONOTONIC_USEC=")
                assert await next_but_status(told) == b"READY=1"
            assert "this setting changes with a restart only" in caplog.text
            config = served.registry.config
            assert (config.boxes.max, config.node) == (7, "n1")
            await client.type(b"goes on")
            assert await client.output() == b"goes on"
            for host, status in ((b"new.example", b"200"), (b"old.example", b"403")):
                answer = await served.ask(b"GET /healthz HTTP/1.1\r\nConnection: close\r\nHost: %s\r\n\r\n" % host)
                assert answer.startswith(b"HTTP/1.1 " + status)
            async with served.terminal() as stranger:
                await stranger.send("start", stream=1, language="echo", code="")
                assert (await stranger.receive("error"))["code"] == "unauthorized"

            settings["boxes"] = {"max": 0}
            os.kill(os.getpid(), signal.SIGHUP)
            assert (await next_but_status(told)).startswith(b"RELOADING=1")
            assert await next_but_status(told) == b"READY=1"
            assert served.registry.config.boxes.max == 7
            assert "the configuration is wrong, and the old one stays" in caplog.text


async def next_but_status(told: Callable[[], Awaitable[bytes]]) -> bytes:
    while (message := await told()).startswith(b"STATUS="):
        pass
    return message


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_an_idle_daemon_stops_at_once(tmp_path: Path, number: signal.Signals) -> None:
    async with serve(tmp_path) as served, served.terminal() as client, httpx.AsyncClient() as kept:
        assert (await kept.get(f"{served.url}/healthz")).status_code == 200
        os.kill(os.getpid(), number)
        assert (await client.receive("draining"))["seconds"] == 30
        assert await left(client) == 1001
        await served.stopped.wait()


async def test_draining_waits_for_programs_and_refuses_new_ones(tmp_path: Path) -> None:
    async with serve(tmp_path) as served, served.terminal() as client, await served.connect() as kept:
        await client.start()
        await kept.send_all(GET + b"\r\n")
        assert (await kept.receive_some()).startswith(b"HTTP/1.1 200")
        os.kill(os.getpid(), signal.SIGTERM)
        await client.receive("draining")
        await refuses(served)
        await client.type(b"goes on")
        assert await client.output() == b"goes on"
        await client.send("start", stream=2, language="echo", code="")
        assert (await client.receive("error"))["code"] == "busy"
        await kept.send_all(GET + b"\r\n")
        answer = await read_all(kept)
        assert b"HTTP/1.1 503" in answer
        assert b"connection: close" in answer
        served.registry.started[0].end()
        assert (await client.receive("exit"))["outcome"] == "exited"
        assert await left(client) == 1001
        await served.stopped.wait()


async def test_the_deadline_ends_programs(tmp_path: Path) -> None:
    async with serve(tmp_path, {"drain": {"seconds": 0.01}}) as served, served.terminal() as client:
        await client.start()
        os.kill(os.getpid(), signal.SIGTERM)
        await client.receive("draining")
        assert (await client.receive("exit"))["outcome"] == "killed"
        assert await left(client) == 1001
        await served.stopped.wait()


async def test_a_second_signal_ends_programs(tmp_path: Path) -> None:
    async with serve(tmp_path, {"drain": {"seconds": 3600}}) as served, served.terminal() as client:
        await client.start()
        os.kill(os.getpid(), signal.SIGTERM)
        await client.receive("draining")
        os.kill(os.getpid(), signal.SIGTERM)
        assert (await client.receive("exit"))["outcome"] == "killed"
        await served.stopped.wait()


async def test_readiness_follows_the_registry(tmp_path: Path) -> None:
    async with serve(tmp_path) as served, httpx.AsyncClient(base_url=served.url) as client:
        assert (await client.get("/readyz")).status_code == 200
        served.registry.full = True
        assert (await client.get("/readyz")).status_code == 503
        assert (await client.get("/healthz")).status_code == 200
        metrics = (await client.get("/metrics")).text
        assert "runnerd_boxes 64\n" in metrics
        assert 'runnerd_sessions_ended_total{outcome="exited"} 0\n' in metrics


async def test_a_key_is_needed_unless_it_is_said_otherwise(tmp_path: Path) -> None:
    async with serve(tmp_path, {"auth": {}}) as served, served.terminal() as client:
        await client.send("start", stream=1, language="echo", code="")
        assert (await client.receive("error"))["code"] == "unauthorized"


async def test_the_log_says_whether_a_key_is_needed(tmp_path: Path, written_log: io.StringIO) -> None:
    async with serve(tmp_path) as served:
        await served.ask(GET + b"Connection: close\r\n\r\n")
        assert 'event="auth: open (whoever can connect may run programs, without a key)"' in written_log.getvalue()


async def test_a_store_that_cannot_be_opened_is_told_to_the_operator_alone(
    tmp_path: Path, written_log: io.StringIO
) -> None:
    (tmp_path / "file").write_text("")
    async with serve(tmp_path / "file", {"auth": {"mode": "keys"}}) as served:
        await until(lambda: "keys cannot be checked" in written_log.getvalue())
        assert "hint=" in written_log.getvalue()
        async with served.terminal(extra_headers=[(b"X-API-Key", b"rsk_x")]) as client:
            error = await client.receive("error")
            assert error["code"] == "internal"
            assert str(tmp_path) not in str(error)


async def test_a_revoked_key_of_the_store_ends_what_it_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("runnerd.server.revocations.INTERVAL", 0.05)
    store = open_store("", tmp_path)
    one, two = store.create_key(1), store.create_key(1)
    async with serve(tmp_path, {"auth": {"mode": "keys"}}) as served:
        headers = [[(b"X-API-Key", key.secret_key.encode())] for key in (one, two)]
        async with (
            served.terminal(extra_headers=headers[0]) as first,
            served.terminal(extra_headers=headers[1]) as second,
        ):
            await first.start()
            await second.start()
            rotated = await trio.to_thread.run_sync(store.rotate, one.public_key)
            told: list[str | bytes] = []
            with pytest.raises(ConnectionClosed) as caught:
                while True:
                    told.append(await first.connection.get_message())
            assert caught.value.reason is not None
            assert caught.value.reason.code == 4401
            assert any('"code":"unauthorized"' in str(each) for each in told)
            await second.type(b"still here")
            assert await second.output() == b"still here"
            assert [each.killed.is_set() for each in served.registry.started] == [True, False]
        async with served.terminal() as client:
            await client.send("auth", key=rotated.secret_key)
            await client.start()
    store.close()


async def test_pages_of_configured_sites_may_connect(tmp_path: Path) -> None:
    origin = [(b"Origin", b"https://course.example")]
    async with serve(tmp_path, {"http": {"origins": ["https://course.example"]}}) as served:
        async with served.terminal(extra_headers=origin) as client:
            await client.start()


async def test_orphans_are_reaped_and_own_children_left_alone() -> None:
    orphan, own = os.posix_spawn("/bin/true", ["true"], {}), os.posix_spawn("/bin/true", ["true"], {})
    spawn.alive.add(own)
    try:
        for pid in (orphan, own):
            os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(orphans.reap)
            await trio.testing.wait_all_tasks_blocked()
            os.kill(os.getpid(), signal.SIGCHLD)
            await until(lambda: not Path(f"/proc/{orphan}").exists())
            nursery.cancel_scope.cancel()
        assert os.waitpid(own, 0) == (own, 0)
    finally:
        spawn.alive.discard(own)
