"""Thousands of short runs through a real daemon leave it as it was."""

import json
import os
import time
from pathlib import Path
from typing import Any

import pytest
import trio
from trio_websocket import WebSocketConnection, open_websocket_url

from runnerd.server import admin
from tests.e2e.serving import CONFIG, Daemon, serve

pytestmark = [pytest.mark.soak, pytest.mark.timeout(600)]

RUNS = 2000
WARM = 200
AT_ONCE = 4
CODE = "import sys; open('file', 'w').write('x' * 100_000); print(sys.argv)"


def settled(daemon: Daemon) -> dict[str, int]:
    """What a daemon holds once its last boxes are taken down, and those that wait for a next run are there."""
    deadline = time.monotonic() + 60
    while True:
        told = admin.ask(daemon.state_dir)
        rests = not told["boxes"] and all(stock["idle"] == stock["wanted"] for stock in told["pool"])
        now = holdings(daemon.pid)
        if rests and now["children"] == sum(stock["idle"] for stock in told["pool"]):
            return now
        assert time.monotonic() < deadline, (told, now)
        time.sleep(0.05)


def holdings(pid: int) -> dict[str, int]:
    """What a process holds: descriptors, children, mounts, resident bytes."""
    status = dict(line.split(":", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines())
    return {
        "descriptors": len(os.listdir(f"/proc/{pid}/fd")),
        "children": len(Path(f"/proc/{pid}/task/{pid}/children").read_text().split()),
        "mounts": len(Path(f"/proc/{pid}/mountinfo").read_text().splitlines()),
        "memory": int(status["VmRSS"].split()[0]) * 1024,
    }


async def run_many(url: str, runs: int) -> int:
    """Run the program so many times, a few at a time; how many ended well."""
    good = 0

    async def lane(number: int) -> None:
        nonlocal good
        async with open_websocket_url(url, subprotocols=["runnerd.v1"]) as connection:
            for _ in range(runs // AT_ONCE):
                mode = ("terminal", "split", "pipes")[number % 3]
                start = {"type": "start", "language": "python", "code": CODE, "mode": mode}
                await connection.send_message(json.dumps(start))
                ended = await until_exit(connection)
                good += ended["outcome"] == "exited" and ended["code"] == 0

    async with trio.open_nursery() as nursery:
        for number in range(AT_ONCE):
            nursery.start_soon(lane, number)
    return good


async def until_exit(connection: WebSocketConnection) -> dict[str, Any]:
    while True:
        message = await connection.get_message()
        if isinstance(message, str) and (event := json.loads(message))["type"] in ("exit", "error"):
            assert event["type"] == "exit", event
            return event


def test_runs_leave_nothing_behind(tmp_path: Path) -> None:
    with serve(tmp_path, settings=f"{CONFIG}\n[pool]\nceiling = 1\n") as daemon:
        url = f"ws://127.0.0.1:{daemon.port}/api/v1/terminal"
        assert trio.run(run_many, url, WARM) == WARM
        before = settled(daemon)
        assert trio.run(run_many, url, RUNS) == RUNS
        after = settled(daemon)
    assert after["memory"] <= before["memory"] * 1.05, (before, after)
    for what in ("descriptors", "children", "mounts"):
        assert after[what] <= before[what], (what, before, after)
