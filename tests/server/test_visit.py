"""Connections of runnerd.v1 in spaces, through a real listener and conversation. The boxes are fakes, in which a
terminal is about to start for as long as a test wants."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import trio
from server_fakes import Client, Served, until
from test_spaces import KEYS, Member, credentials, member, new_key, serving
from trio_websocket import ConnectionClosed

ADA = [{"user": "host", "color": "#22c55e", "host": True}, {"user": "ada", "color": "#6366f1", "host": False}]


class Visitor(Client):
    async def ask(self, type: str, answer: str, **fields: Any) -> dict[str, Any]:
        """The answer, and no frame before it but news of terminals."""
        await self.send(type, **fields)
        return await self.until(answer)

    async def several(self, count: int) -> list[dict[str, Any]]:
        """The next frames but news of terminals."""
        told: list[dict[str, Any]] = []
        while len(told) < count:
            if (one := await Member(self.connection).hear())["type"] != "terminals":
                told.append(one)
        return told

    async def until(self, type: str) -> dict[str, Any]:
        while (told := await Member(self.connection).hear())["type"] != type:
            assert told["type"] == "terminals", told
        return told


@asynccontextmanager
async def visiting(served: Served, **options: Any) -> AsyncIterator[Visitor]:
    async with served.terminal(message_queue_size=1000, **options) as client:
        yield Visitor(client.connection)


@asynccontextmanager
async def space(tmp_path: Path, **settings: Any) -> AsyncIterator[tuple[Served, Member, str, dict[str, str]]]:
    """(the daemon, the host on protocol 002, the join key, what the host's key is)."""
    async with serving(tmp_path, auth=KEYS, **settings) as served, member(served) as host:
        key = credentials(new_key(tmp_path))
        join = (await host.ask("init", **key))["join"]
        served.registry.boxes[0].may_start = trio.Event()
        yield served, host, join, key
        served.registry.boxes[0].may_start.set()


async def test_a_member_like_all_others(tmp_path: Path) -> None:
    async with space(tmp_path, spaces={"members": 2}) as (served, host, join, _):
        async with visiting(served) as ada:
            entered = await ada.ask("join", "join", join=join, user="ada")
            assert entered == {"type": "join", "user": "ada", "color": "#6366f1", "host": False} | {
                "members": ADA,
                "terminals": [],
            }
            assert await host.hear() == {"type": "joined", "user": "ada", "color": "#6366f1", "members": ADA}
            async with visiting(served) as bob:
                assert (await bob.ask("join", "error", join=join))["code"] == "busy"
        assert await host.hear() == {"type": "left", "user": "ada", "color": "#6366f1", "members": ADA[:1]}
        async with visiting(served) as bob, member(served) as late:
            await bob.ask("join", "join", join=join)
            assert (await late.ask("join", join=join))["code"] == "busy"
            assert (await host.hear())["type"] == "joined"
            await host.send("cmd", command={"type": "create", "path": "a"})  # not its business
            await host.connection.aclose()
            assert (await bob.until("left"))["user"] == "host"


@pytest.mark.parametrize("how", ["header", "auth", "join"])
async def test_the_host_is_who_has_the_spaces_key(tmp_path: Path, how: str) -> None:
    async with space(tmp_path, spaces={"host_only": True}) as (served, _, join, key):
        secret = key["secret_key"]
        headers = [(b"X-API-Key", secret.encode())] if how == "header" else []
        async with visiting(served, extra_headers=headers) as ada, visiting(served) as bob:
            if how == "auth":
                await ada.send("auth", key=secret)
            fields = {"key": secret} if how == "join" else {}
            assert (await ada.ask("join", "join", join=join, **fields))["host"] is True
            assert (await bob.ask("join", "join", join=join))["host"] is False
            assert (await ada.until("joined"))["user"] == "member 2"
            assert (await bob.ask("open", "error"))["code"] == "forbidden"
            assert (await ada.ask("open", "attached"))["read_only"] is False
            assert (await bob.ask("attach", "attached", terminal="1", rows=5))["read_only"] is True
            for attempt in ({"type": "signal", "signal": "INT"}, {"type": "eof"}, {"type": "kill"}):
                assert (await bob.ask(**attempt, answer="error"))["code"] == "forbidden", attempt
            assert (await bob.ask("close", "error", terminal="1"))["code"] == "forbidden"
            assert (await bob.ask("list", "terminals"))["terminals"][0]["rows"] == 24
            await ada.send("close", terminal="1")
            await ada.ask("ping", "pong")
            served.registry.boxes[0].may_start.set()
            assert (await ada.until("exit"))["message"] == (await bob.until("exit"))["message"] == "closed by a member"


async def test_another_key_makes_no_host_and_a_wrong_one_closes(tmp_path: Path) -> None:
    async with space(tmp_path) as (served, _, join, _):
        async with visiting(served) as ada:
            other = new_key(tmp_path).secret_key
            assert (await ada.ask("join", "join", join=join, key=other))["host"] is False
        async with visiting(served) as ada:
            await ada.ask("join", "error", join=join, key="rk_wrong")
            with pytest.raises(ConnectionClosed) as caught:
                await ada.until("join")
            assert caught.value.reason is not None
            assert caught.value.reason.code == 4401


async def test_all_are_told_of_terminals(tmp_path: Path) -> None:
    async with space(tmp_path) as (served, _, join, _), visiting(served) as ada, visiting(served) as bob:
        await ada.ask("join", "join", join=join)
        await bob.ask("join", "join", join=join)
        await ada.until("joined")
        await ada.send("open", stream=4, terminal="tests", rows=10, cols=20)
        (item,) = (await bob.receive("terminals"))["terminals"]
        shown = {"terminal": "tests", "rows": 10, "cols": 20, "viewers": 1, "start": 0, "end": 0}
        assert item == shown
        assert (await ada.until("attached"))["stream"] == 4
        await ada.send("attach", stream=5, terminal="tests", rows=9, cols=30)
        told = await ada.several(3)  # two streams, each in its order
        assert {"type": "size", "stream": 4, "rows": 9, "cols": 20} in told
        assert [each["type"] for each in told if each["stream"] == 5] == ["attached", "size"]
        await ada.send("detach", stream=5)
        told = await ada.several(2)
        assert {"type": "detached", "stream": 5} in told
        assert {"type": "size", "stream": 4, "rows": 10, "cols": 20} in told
        await ada.send("detach", stream=5)  # it could not know
        served.registry.boxes[0].may_start.set()
        ended = await ada.until("exit")
        assert (ended["outcome"], ended["stream"]) == ("failed", 4)
        assert await bob.receive("terminals") == {"type": "terminals", "terminals": []}


async def test_the_spaces_end_is_told_and_another_may_be_joined(tmp_path: Path) -> None:
    async with space(tmp_path) as (served, _, join, key), visiting(served) as ada, member(served) as again:
        await ada.ask("join", "join", join=join)
        await ada.ask("open", "attached")
        served.registry.spaces[0].kill("somebody wanted it")
        served.registry.boxes[0].may_start.set()
        told = {each["type"]: each for each in await ada.several(2)}
        assert (told["exit"]["stream"], told["error"]["code"]) == (1, "space_ended")
        assert "somebody wanted it" in told["error"]["message"]
        await until(lambda: not served.registry.spaces[0].members)
        other = (await again.ask("init", **key))["join"]
        assert len((await ada.ask("join", "join", join=other))["members"]) == 2
        await ada.ask("ping", "pong", id=1)


async def test_a_lost_connection_leaves(tmp_path: Path) -> None:
    async with space(tmp_path) as (served, host, join, _):
        async with visiting(served, disconnect_timeout=0.01) as ada:
            await ada.ask("join", "join", join=join)
            await ada.ask("open", "attached")
            (seat,) = served.registry.spaces[0].terminals.find("1").seats
            assert seat.viewer in seat.terminal.feed.viewers
            await ada.connection._stream.aclose()
        assert (await host.hear())["type"] == "joined"
        assert (await host.hear())["type"] == "left"
        await until(lambda: not seat.terminal.seats and not seat.terminal.feed.viewers)
        assert [each.name for each in served.registry.spaces[0].terminals.terminals] == ["1"]
