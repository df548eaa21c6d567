"""Terminals of a space over runnerd.v1 against a live daemon, beside members who speak protocol 002."""

import json
import struct
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from typing import Any

import httpx
import pytest
import trio
from trio_websocket import WebSocketConnection, open_websocket_url

from runnerd.server import admin
from tests.e2e.serving import CONFIG, Daemon, serve

WITHIN = 30


class Client:
    """A connection of runnerd.v1. `output` is what each stream has shown, `news` all other frames not yet asked for."""

    def __init__(self, connection: WebSocketConnection) -> None:
        self.connection = connection
        self.output: dict[int, bytes] = {}
        self.offsets: dict[int, int] = {}
        self.news: list[dict[str, Any]] = []

    async def send(self, type: str, **fields: Any) -> None:
        await self.connection.send_message(json.dumps({"type": type, **fields}))

    async def type(self, text: str, stream: int = 1) -> None:
        await self.connection.send_message(struct.pack(">BI", 0, stream) + text.encode())

    async def hear(self, type: str) -> dict[str, Any]:
        """The next frame of this type."""
        while True:
            for told in self.news:
                if told["type"] == type:
                    self.news.remove(told)
                    return told
            await self._take()

    async def ask(self, type: str, answer: str, **fields: Any) -> dict[str, Any]:
        await self.send(type, **fields)
        return await self.hear(answer)

    async def shown(self, text: str, stream: int = 1) -> None:
        while text.encode() not in self.output.get(stream, b""):
            await self._take()

    async def _take(self) -> None:
        message = await self.connection.get_message()
        if isinstance(message, str):
            told = json.loads(message)
            if told["type"] == "attached":
                self.output.pop(told["stream"], None)
                self.offsets.pop(told["stream"], None)
            self.news.append(told)
            return
        _, stream, offset = struct.unpack_from(">BIQ", message)
        self.offsets.setdefault(stream, offset)
        assert offset == self.offsets[stream] + len(self.output.get(stream, b""))
        self.output[stream] = self.output.get(stream, b"") + message[13:]


@asynccontextmanager
async def client(daemon: Daemon, path: str = "/api/v1/terminal") -> AsyncIterator[Client]:
    protocols = ["runnerd.v1"] if path.startswith("/api") else []
    url = f"ws://127.0.0.1:{daemon.port}{path}"
    async with open_websocket_url(url, subprotocols=protocols, message_queue_size=1000) as connection:
        try:
            yield Client(connection)
        finally:
            await connection._stream.aclose()  # the library leaves it open when the server closed first


@asynccontextmanager
async def space(daemon: Daemon) -> AsyncIterator[tuple[Client, str]]:
    """Its host, who speaks protocol 002, and the join key."""
    with trio.fail_after(WITHIN):
        async with client(daemon, "/ws/spaces/defoult/") as host:
            made = await host.ask("init", "init")
            yield host, made["join"]


@pytest.fixture(scope="module")
def daemon(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    with serve(
        tmp_path_factory.mktemp("daemon"), settings=f"{CONFIG}\n[profiles.space]\nmemory = 100_000_000\n"
    ) as daemon:
        yield daemon


async def test_two_people_at_one_terminal(daemon: Daemon) -> None:
    async with space(daemon) as (host, join), client(daemon) as ada, client(daemon) as bob:
        entered = await ada.ask("join", "join", join=join, user="ada")
        assert (entered["user"], entered["host"], entered["terminals"]) == ("ada", False, [])
        assert (await host.hear("joined"))["user"] == "ada"
        assert [each["user"] for each in (await bob.ask("join", "join", join=join, user="ada"))["members"]][1:] == [
            "ada",
            "ada 2",
        ]
        attached = await ada.ask("open", "attached", stream=7, rows=30, cols=100)
        assert attached == {
            "type": "attached",
            "stream": 7,
            "terminal": "1",
            "rows": 30,
            "cols": 100,
            "read_only": False,
        }
        assert (await ada.hear("started"))["mode"] == "terminal"
        await ada.type("echo $((40+2)) $(tty) $(pwd) > file; cat file\n", 7)
        await ada.shown("42 /dev/pts/", 7)
        assert (await bob.hear("terminals"))["terminals"][0]["terminal"] == "1"
        assert (await bob.ask("attach", "attached", stream=1, terminal="1", rows=20, cols=120))["rows"] == 20
        await bob.shown("42 /dev/pts/")
        assert await ada.hear("size") == {"type": "size", "stream": 7, "rows": 20, "cols": 100}
        await bob.type("stty size\n")
        await ada.shown("20 100\r\n", 7)
        await bob.shown("20 100\r\n")
        assert (await bob.ask("detach", "detached", stream=1))["stream"] == 1
        assert (await ada.hear("size"))["rows"] == 30
        (item,) = (await bob.ask("list", "terminals"))["terminals"]
        assert (item["rows"], item["viewers"], item["start"]) == (30, 1, 0)
        await bob.ask("attach", "attached", stream=1, terminal="1", offset=item["end"], read_only=True)
        await bob.type("echo no\n")
        assert (await bob.hear("error"))["code"] == "forbidden"
        await ada.type("echo y''es; exit 4\n", 7)
        for each, stream in ((ada, 7), (bob, 1)):
            ended = await each.hear("exit")
            assert (ended["stream"], ended["outcome"], ended["code"]) == (stream, "exited", 4)
        assert bob.offsets[1] == item["end"]
        await host.send("cmd", command={"type": "read"}, path="file")
        assert (await host.hear("file"))["content"].endswith("/work\n"), "in the tree"
    async with client(daemon, "/ws/spaces/defoult/") as late:
        assert (await late.ask("join", "join", join=join))["members"][0]["user"] == "member", "the others have left"


async def test_they_go_on_without_a_viewer_and_end_with_the_space(daemon: Daemon) -> None:
    async with space(daemon) as (host, join), client(daemon) as bob:
        async with client(daemon) as ada:
            await ada.ask("join", "join", join=join)
            await ada.ask("open", "attached", terminal="work")
            await ada.type("echo be''fore; read x; echo $x af''ter\n")
            await ada.shown("before\r\n")
        await host.hear("left")
        (item,) = (await bob.ask("join", "join", join=join))["terminals"]
        assert (item["terminal"], item["viewers"]) == ("work", 0)
        await bob.ask("attach", "attached", terminal="work")
        await bob.shown("before\r\n")
        await bob.type("typed\n")
        await bob.shown("typed after\r\n")
        await bob.send("start", stream=2, argv=["echo", "a program of its own"], mode="pipes")
        await bob.shown("own\n", 2)
        assert (await bob.hear("exit"))["stream"] == 2
        await bob.ask("open", "attached", stream=3)
        await bob.send("close", terminal="work")
        ended = await bob.hear("exit")
        assert (ended["stream"], ended["outcome"], ended["message"]) == (1, "killed", "closed by a member")
        await bob.type("head -c 200000000 /dev/zero | tail >/dev/null\n", 3)  # more memory than it may have
        over = await bob.hear("error")
        assert (over["code"], over.get("stream")) == ("space_ended", None)
        assert (await bob.hear("exit"))["stream"] == 3
        assert (await bob.ask("list", "error"))["message"] == "this connection is in no space"
        assert (await bob.ask("ping", "pong", id=1))["id"] == 1, "the connection goes on"


async def test_what_is_refused(daemon: Daemon) -> None:
    async with space(daemon) as (_, join), client(daemon) as ada:
        assert (await ada.ask("open", "error", stream=5))["message"] == "this connection is in no space"
        assert (await ada.ask("join", "error", join="n1-" + "0" * 32))["code"] == "not_found"
        await ada.ask("join", "join", join=join)
        assert "already" in (await ada.ask("join", "error", join=join))["message"]
        told = await ada.ask("attach", "error", stream=5, terminal="9")
        assert (told["code"], told["stream"]) == ("not_found", 5)
        await ada.type("late\n", 5)
        await ada.ask("open", "attached", stream=5, terminal="a")
        assert (await ada.ask("open", "error", stream=5))["code"] == "bad_request"
        assert (await ada.ask("open", "error", stream=6, terminal="a"))["code"] == "exists"
        assert (await ada.ask("detach", "error", stream=8))["code"] == "not_found"
        for number in range(7):
            await ada.ask("open", "attached", stream=10 + number)
        assert (await ada.ask("open", "error", stream=20))["code"] == "busy"
        assert "late" not in ada.output.get(5, b"").decode()


async def test_operators_see_spaces(daemon: Daemon) -> None:
    async with space(daemon) as (host, join), client(daemon) as ada, httpx.AsyncClient(base_url=daemon.url) as http:
        await ada.ask("join", "join", join=join)
        await ada.ask("open", "attached")
        await host.send("cmd", command={"type": "shell", "command": "cat"})
        await ada.type("while :; do :; done\n")
        while True:
            spaces = (await trio.to_thread.run_sync(admin.ask, daemon.state_dir))["spaces"]
            one = min(spaces, key=lambda one: one["age"])
            if one["programs"] and one["cpu"]:
                break
            await trio.sleep(0.05)
        assert (one["members"], one["programs"], one["terminals"]) == (2, 1, 1)
        assert 1_000_000 < one["memory"] < 100_000_000
        assert 0 <= one["idle"] <= one["age"]
        lines = dict(line.rsplit(" ", 1) for line in (await http.get("/metrics")).text.splitlines())
        assert (lines["runnerd_spaces"], lines["runnerd_space_members"]) == (str(len(spaces)), "2")
        assert lines["runnerd_space_programs"] == "1"
        assert int(lines["runnerd_space_terminals"]) >= 1
        assert float(lines["runnerd_space_memory_bytes"]) >= one["memory"]
        assert float(lines["runnerd_space_cpu_seconds"]) > 0
        await host.send("cmd", command={"type": "shell", "command": "Kill"})
        await host.hear("terminal-data-end")  # which the daemon's end would wait for
