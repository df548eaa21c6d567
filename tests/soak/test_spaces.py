"""A hundred spaces with two members each, all busy: nothing crosses over, and leaving frees everything."""

import asyncio
import json
import re
import secrets
import struct
from pathlib import Path
from typing import Any

import pytest
from websockets.asyncio.client import ClientConnection, connect

from runnerd.server import admin
from tests.e2e.serving import Daemon, serve
from tests.soak.test_leaks import settled

pytestmark = [pytest.mark.soak, pytest.mark.timeout(300)]

SPACES = 100
WARM = 10
ROUNDS = 3
WITHIN = 90.0
"""Seconds, on two cores that are busy with other things."""

SETTINGS = """\
[boxes]
max = 110
queue = 110
queue_wait = 120
pressure_memory = 0
pressure_cpu = 0

[http]
send_deadline = 120
pong_deadline = 120

[spaces]
grace = 1

[profiles.space]
memory = 100_000_000
"""
MARK = re.compile("mark-[0-9a-f]{16}")


class Member:
    """One connection. Everything it is told is kept, and must hold no mark but its space's."""

    def __init__(self, connection: ClientConnection, mark: str) -> None:
        self._connection, self._mark = connection, mark
        self.text = ""
        self.seen = 0

    async def send(self, **fields: Any) -> None:
        await self._connection.send(json.dumps(fields))

    async def cmd(self, kind: str, text: str | None = None, **fields: Any) -> None:
        inner = {"type": kind} if text is None else {"type": kind, "command": text}
        await self.send(type="cmd", command=inner, **fields)

    async def type(self, text: str) -> None:
        await self._connection.send(struct.pack(">BI", 0, 1) + text.encode())

    async def hear(self, kind: str) -> dict[str, Any]:
        """The next frame of this type."""
        while True:
            told = await self._take()
            if told.get("type") == kind:
                return told

    async def shown(self, text: str) -> None:
        """Wait until this was shown, after what was waited for before."""
        while (at := self.text.find(text, self.seen)) < 0:
            await self._take()
        self.seen = at + len(text)

    async def _take(self) -> dict[str, Any]:
        message = await self._connection.recv()
        if isinstance(message, bytes):
            self._show(message[13:].decode())
            return {}
        self._check(message)
        told: dict[str, Any] = json.loads(message)
        assert told.get("type") != "error" or told["code"] == "space_ended", told
        if told.get("type") == "terminal-data":
            self._show(told["data"])
        elif told.get("type") == "terminal-newline":
            self._show("\n")
        return told

    def _show(self, text: str) -> None:
        """A mark may come in pieces."""
        before = max(0, len(self.text) - len(self._mark))
        self.text += text
        self._check(self.text[before:])

    def _check(self, text: str) -> None:
        assert set(MARK.findall(text)) <= {self._mark}, text


class Clients:
    def __init__(self, port: int) -> None:
        self._port = port

    def _connect(self, path: str, **options: Any) -> connect:
        url = f"ws://127.0.0.1:{self._port}{path}"
        return connect(url, open_timeout=WITHIN, ping_timeout=None, proxy=None, **options)

    async def space(self, everybody: asyncio.Barrier) -> None:
        """A space from its making to its end. All are there at the same time, and busy."""
        mark = f"mark-{secrets.token_hex(8)}"
        async with (
            self._connect("/ws/spaces/defoult/") as first,
            self._connect("/api/v1/terminal", subprotocols=["runnerd.v1"]) as second,
        ):
            host, guest = Member(first, mark), Member(second, mark)
            await host.send(type="init")
            join = (await host.hear("init"))["join"]
            tree = {"name": "project", "type": "folder", "children": [{"name": "a", "type": "file", "content": mark}]}
            await host.cmd("project", file_structure=json.dumps(tree))
            await host.hear("msg")
            await guest.send(type="join", join=join, user=mark)
            assert len((await guest.hear("join"))["members"]) == 2
            assert (await host.hear("joined"))["user"] == mark
            await everybody.wait()
            await guest.send(type="open", stream=1)
            await guest.hear("attached")
            for number in range(ROUNDS):
                await asyncio.gather(self._host(host, mark, number), self._guest(guest, mark, number))
            await host.cmd("shell", "cat; echo over")
            await host.cmd("shell", mark)
            await host.shown(f"{mark}\n")
            await everybody.wait()

    async def _host(self, host: Member, mark: str, number: int) -> None:
        await host.cmd("write", path=f"project/{number}", content=f"{mark} {number}\n" * 200)
        await host.cmd("shell", f"ls project; cat project/a project/{number}; read line; echo $line; seq 500; echo end")
        await host.shown(f"{mark} {number}\n" * 200)
        await host.cmd("shell", f"{mark} typed")
        await host.shown(f"{mark} typed\n")
        await host.hear("terminal-data-end")
        await host.cmd("read", path=f"project/{number}")
        assert (await host.hear("file"))["content"] == f"{mark} {number}\n" * 200

    async def _guest(self, guest: Member, mark: str, number: int) -> None:
        await guest.type(f"echo {mark} > guest; cat guest project/a; ls -d /proc/[0-9]* | wc -l; echo e''nd{number}\n")
        await guest.shown(f"end{number}\r\n")


async def many(daemon: Daemon, spaces: int) -> None:
    everybody, clients = asyncio.Barrier(spaces + 1), Clients(daemon.port)
    async with asyncio.timeout(WITHIN), asyncio.TaskGroup() as group:
        for _ in range(spaces):
            group.create_task(clients.space(everybody))
        await everybody.wait()
        await everybody.wait()
        told = await asyncio.to_thread(admin.ask, daemon.state_dir)
        assert len(told["spaces"]) >= spaces


def test_a_hundred_spaces(tmp_path: Path) -> None:
    with serve(tmp_path, settings=SETTINGS) as daemon:
        asyncio.run(many(daemon, WARM))
        settled(daemon)
        asyncio.run(many(daemon, SPACES))
        before = settled(daemon)
        asyncio.run(many(daemon, SPACES))
        after = settled(daemon)
    for what in ("descriptors", "children", "mounts"):
        assert after[what] <= before[what], (what, before, after)
    assert after["memory"] <= before["memory"] * 1.1, (before, after)
