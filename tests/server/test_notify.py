import os
import socket
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest
import trio

from runnerd.server.notify import feed_watchdog, notify, reloading, show_status, stopping


@pytest.fixture
def manager(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[socket.socket]:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(tmp_path / "notify"))
        manager.setblocking(False)
        monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "notify"))
        yield manager


def told(manager: socket.socket) -> list[str]:
    messages: list[str] = []
    with suppress(BlockingIOError):
        while True:
            messages.append(manager.recv(1000).decode())
    return messages


@pytest.mark.parametrize("abstract", [False, True])
def test_the_state_reaches_the_manager(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, abstract: bool) -> None:
    shown = f"@runnerd-test-{os.getpid()}" if abstract else str(tmp_path / "notify")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(shown.replace("@", "\0", 1))
        monkeypatch.setenv("NOTIFY_SOCKET", shown)
        assert notify("READY=1\nSTATUS=listening")
        assert manager.recv(100) == b"READY=1\nSTATUS=listening"


@pytest.mark.parametrize("value", [None, "", "relative", "/nowhere/at/all"])
def test_without_a_manager_nothing_happens(monkeypatch: pytest.MonkeyPatch, value: str | None) -> None:
    monkeypatch.delenv("NOTIFY_SOCKET", raising=False)
    if value is not None:
        monkeypatch.setenv("NOTIFY_SOCKET", value)
    assert not notify("READY=1")


def test_a_reload_and_a_stop_tell_their_times(manager: socket.socket) -> None:
    before = time.monotonic_ns() // 1000
    assert reloading()
    assert stopping(30.5)
    reload, stop, extend = told(manager)
    said, _, moment = reload.partition("\nMONOTONIC_USEC=")
    assert said == "RELOADING=1"
    assert before <= int(moment) <= time.monotonic_ns() // 1000
    assert (stop, extend) == ("STOPPING=1", "EXTEND_TIMEOUT_USEC=30500000")


async def test_the_status_is_told_when_it_changes(manager: socket.socket, autojump_clock: object) -> None:
    served = 0
    async with trio.open_nursery() as nursery:
        nursery.start_soon(show_status, lambda: f"{served} served")
        await trio.sleep(5.5)
        assert told(manager) == []
        for served in range(1, 100):  # noqa: B007  the status reads it
            await trio.sleep(0.01)
        await trio.sleep(5)
        changes = told(manager)
        assert len(changes) <= 2
        assert changes[-1] == "STATUS=99 served"
        nursery.cancel_scope.cancel()


async def test_the_watchdog_is_fed_twice_in_its_time(
    manager: socket.socket, monkeypatch: pytest.MonkeyPatch, autojump_clock: object
) -> None:
    monkeypatch.setenv("WATCHDOG_USEC", "30000000")
    monkeypatch.setenv("WATCHDOG_PID", str(os.getpid()))
    with trio.move_on_after(61):
        await feed_watchdog()
    assert told(manager) == ["WATCHDOG=1"] * 5


@pytest.mark.parametrize(("usec", "pid"), [("", ""), ("0x", ""), ("1000", "1")])
async def test_nobody_asked_for_a_watchdog(
    manager: socket.socket, monkeypatch: pytest.MonkeyPatch, usec: str, pid: str
) -> None:
    monkeypatch.setenv("WATCHDOG_USEC", usec)
    monkeypatch.setenv("WATCHDOG_PID", pid)
    await feed_watchdog()
    assert told(manager) == []
