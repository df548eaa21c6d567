"""The admin socket, and the command that reads it."""

import json
import stat
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import trio

from runnerd.cli import main
from runnerd.server import admin

TOLD: dict[str, Any] = {
    "boxes": 1,
    "boxes_max": 64,
    "queued": 0,
    "started": 7,
    "ended": {"exited": 6, "wall": 0},
    "draining": False,
    "sessions": [
        {
            "session": "n1-0123",
            "language": "python",
            "mode": "terminal",
            "state": "waiting",
            "viewers": 1,
            "output": 12,
            "quiet": 3.25,
        }
    ],
    "spaces": [
        {
            "space": "n1-4567",
            "members": 2,
            "programs": 1,
            "terminals": 3,
            "memory": 70 * 1024 * 1024,
            "cpu": 12.5,
            "age": 900.1,
            "idle": 4.25,
        }
    ],
    "pool": [
        {
            "language": "python",
            "profile": "default",
            "mode": "terminal",
            "idle": 1,
            "wanted": 2,
            "rate": 0.1,
            "memory": 9 * 1024 * 1024,
            "hits": 5,
            "misses": 2,
            "made": 6,
            "discarded": 0,
        }
    ],
}


@asynccontextmanager
async def serving(state: Path, tell: Callable[[], dict[str, Any]] = lambda: TOLD) -> AsyncGenerator[None]:
    async with trio.open_nursery() as nursery:
        nursery.start_soon(admin.serve_admin, state, tell)
        with trio.fail_after(5):
            while not (state / admin.NAME).exists():
                await trio.sleep(0.001)
        yield
        nursery.cancel_scope.cancel()


async def test_each_connection_is_told_once_what_is_so_now(tmp_path: Path) -> None:
    count = 0

    def tell() -> dict[str, Any]:
        nonlocal count
        count += 1
        return {"count": count}

    async with serving(tmp_path, tell):
        for number in (1, 2):
            assert await trio.to_thread.run_sync(admin.ask, tmp_path) == {"count": number}
    assert not (tmp_path / admin.NAME).exists()


async def test_it_is_for_its_user_only(tmp_path: Path) -> None:
    async with serving(tmp_path):
        assert stat.S_IMODE((tmp_path / admin.NAME).stat().st_mode) == 0o600


async def test_a_reader_that_leaves_hurts_nobody(tmp_path: Path) -> None:
    async with serving(tmp_path, lambda: {"much": "x" * 5_000_000}):
        for _ in range(3):
            stream = await trio.open_unix_socket(str(tmp_path / admin.NAME))
            await stream.aclose()
        assert len((await trio.to_thread.run_sync(admin.ask, tmp_path))["much"]) == 5_000_000


async def test_a_second_daemon_of_the_same_folder_goes_without(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with serving(tmp_path):
        await admin.serve_admin(tmp_path, dict)
        assert await trio.to_thread.run_sync(admin.ask, tmp_path) == TOLD
    assert "`runnerd top` will show nothing" in caplog.text


async def test_the_command_shows_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    async with serving(tmp_path):
        assert await trio.to_thread.run_sync(main, ["top", "--state-dir", str(tmp_path), "--json"]) == 0
        assert json.loads(capsys.readouterr().out) == TOLD
        assert await trio.to_thread.run_sync(main, ["top", "--state-dir", str(tmp_path)]) == 0
    shown = capsys.readouterr().out
    assert "1 of 64 boxes, 0 waiting runs, 7 runs so far\nended: exited 6\n" in shown
    assert "n1-0123" in shown
    assert "1/2" in shown
    space = next(line for line in shown.splitlines() if line.startswith("n1-4567"))
    assert space.split() == ["n1-4567", "2", "1", "3", "70.0", "12.5s", "900s", "4.2s"]
    assert "9.0" in shown


def test_without_a_daemon_it_says_where_it_looked(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["top", "--state-dir", str(tmp_path)]) == 1
    assert f"no daemon answers at {tmp_path / admin.NAME}" in capsys.readouterr().err
    with pytest.raises(OSError, match="No such file"):
        admin.ask(tmp_path)
