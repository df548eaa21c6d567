"""Protocol 002 through a real listener and conversation, around spaces whose boxes are fakes."""

import json
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
import trio
from server_fakes import Served, serve, until
from trio_websocket import ConnectionClosed, WebSocketConnection, open_websocket_url

from runnerd.errors import Busy
from runnerd.session.members import NEWS_MAX
from runnerd.store import NewKey, Rules
from runnerd.store.database import open_store

WITHIN = 20


class Member:
    """One connection."""

    def __init__(self, connection: WebSocketConnection) -> None:
        self.connection = connection

    async def send(self, type: str, **fields: Any) -> None:
        await self.connection.send_message(json.dumps({"type": type, **fields}))

    async def cmd(self, kind: str, **fields: Any) -> None:
        inner = {name: fields.pop(name) for name in ("item", "command") if name in fields}
        if kind == "create":
            inner["path"] = fields.pop("path")
        await self.send("cmd", command={"type": kind, **inner}, **fields)

    async def hear(self) -> dict[str, Any]:
        message = await self.connection.get_message()
        assert isinstance(message, str)
        return json.loads(message)

    async def ask(self, type: str, **fields: Any) -> dict[str, Any]:
        await self.send(type, **fields)
        return await self.hear()

    async def closed(self) -> int:
        with pytest.raises(ConnectionClosed) as caught:
            await self.hear()
        assert caught.value.reason is not None
        return caught.value.reason.code


@asynccontextmanager
async def member(served: Served, path: str = "/ws/spaces/defoult/", **options: Any) -> AsyncIterator[Member]:
    options["message_queue_size"] = 1000  # a client that has not read everything could not close
    async with open_websocket_url(f"ws://127.0.0.1:{served.port}{path}", **options) as connection:
        try:
            yield Member(connection)
        finally:
            await connection._stream.aclose()


@asynccontextmanager
async def serving(tmp_path: Path, **settings: Any) -> AsyncIterator[Served]:
    with trio.fail_after(WITHIN):
        async with serve(tmp_path, settings) as served, httpx.AsyncClient(base_url=served.url) as client:
            await client.get("/healthz")  # its registry is made when it serves
            yield served


def new_key(tmp_path: Path, credits: int = 5, rules: Rules | None = None) -> NewKey:
    store = open_store("", tmp_path)
    try:
        return store.create_key(credits, rules=rules)
    finally:
        store.close()


def balance(tmp_path: Path, key: NewKey) -> int:
    store = open_store("", tmp_path)
    try:
        return store.key(key.public_key).credits
    finally:
        store.close()


def credentials(key: NewKey) -> dict[str, str]:
    return {"public_key": key.public_key, "secret_key": key.secret_key}


KEYS = {"mode": "keys"}


@pytest.mark.parametrize("path", ["/ws/spaces/defoult/", "/ws/spaces/defoult", "/ws/spaces/"])
async def test_the_name_is_a_label(tmp_path: Path, path: str) -> None:
    async with serving(tmp_path) as served, member(served, path) as one, member(served, path) as two:
        joins = [(await each.ask("init"))["join"] for each in (one, two)]
        assert joins[0] != joins[1]
        assert len(served.registry.spaces) == 2


async def test_other_paths(tmp_path: Path) -> None:
    upgrade = "Host: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13"
    upgrade += "\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n"
    async with serving(tmp_path) as served:
        for path in ("/ws/spaces/a/b/", "/ws/spaces"):
            answer = await served.ask(f"GET {path} HTTP/1.1\r\n{upgrade}".encode())
            assert answer.startswith(b"HTTP/1.1 404 "), path
        async with httpx.AsyncClient(base_url=served.url) as client:
            assert (await client.get("/ws/spaces/defoult/")).status_code == 426


async def test_a_space_costs_a_credit(tmp_path: Path) -> None:
    async with serving(tmp_path, auth=KEYS) as served, member(served) as host, member(served) as other:
        key = new_key(tmp_path, 2)
        made = await host.ask("init", **credentials(key))
        assert made == {"type": "init", "join": made["join"], "remaining_credits": 1}
        assert (await other.ask("join", join=made["join"]))["type"] == "join"
        assert balance(tmp_path, key) == 1
        headers = [(b"X-API-Key", key.secret_key.encode())]
        async with member(served, extra_headers=headers) as third:
            assert (await third.ask("init"))["remaining_credits"] == 0
            async with member(served, extra_headers=headers) as fourth:
                error = await fourth.ask("init")
                assert (error["type"], error["code"]) == ("error", "no_credits")
                assert (await fourth.ask("join", join=made["join"]))["type"] == "join", "the connection goes on"


async def test_where_a_space_costs_nothing_the_balance_is_told(tmp_path: Path) -> None:
    async with serving(tmp_path, auth=KEYS, prices={"space": 0}) as served, member(served) as host:
        assert (await host.ask("init", **credentials(new_key(tmp_path, 7))))["remaining_credits"] == 7


async def test_without_keys_nothing_is_counted(tmp_path: Path) -> None:
    async with serving(tmp_path) as served, member(served) as host:
        assert (await host.ask("init"))["remaining_credits"] is None


async def test_what_does_not_come_about_is_given_back(tmp_path: Path) -> None:
    quota = {"key": {"runs_at_a_time": 1}}
    async with serving(tmp_path, auth=KEYS, quota=quota) as served, member(served) as host, member(served) as other:
        key = new_key(tmp_path)
        served.registry.failure = Busy("no box is free", retry_after=1)
        assert (await host.ask("init", **credentials(key)))["code"] == "busy"
        assert balance(tmp_path, key) == 5
        served.registry.failure = None
        assert (await host.ask("init", **credentials(key)))["type"] == "init"
        assert (await other.ask("init", **credentials(key)))["code"] == "quota", "a space counts while it lives"
        served.registry.spaces[0].kill("the test")
        await until(lambda: served.registry.spaces[0].over.is_set())
        assert (await other.ask("init", **credentials(key)))["type"] == "init"


@pytest.mark.parametrize("rules", [Rules(profiles=("default",)), Rules(languages=("python",))])
async def test_keys_that_may_have_no_space(tmp_path: Path, rules: Rules) -> None:
    async with serving(tmp_path, auth=KEYS) as served, member(served) as host:
        assert (await host.ask("init", **credentials(new_key(tmp_path, rules=rules))))["code"] == "forbidden"


@pytest.mark.parametrize("type", ["init", "join"])
async def test_a_wrong_key_ends_the_connection(tmp_path: Path, type: str) -> None:
    async with serving(tmp_path, auth=KEYS) as served, member(served) as host, member(served) as other:
        key = new_key(tmp_path)
        join = (await host.ask("init", **credentials(key)))["join"]
        error = await other.ask(type, join=join, public_key=key.public_key, secret_key="wrong")
        assert error["code"] == "unauthorized"
        assert await other.closed() == 4401
        assert len(served.registry.spaces[0].members) == 1


async def test_nothing_is_done_outside_of_a_space_or_in_two(tmp_path: Path) -> None:
    async with serving(tmp_path) as served, member(served) as one:
        for fields in ({"command": {"type": "shell", "command": "x"}}, {"command": {"type": "list"}}):
            assert "in no space" in (await one.ask("cmd", **fields))["message"]
        assert "in no space" in (await one.ask("revoke"))["message"]
        made = await one.ask("init")
        assert "in a space already" in (await one.ask("init"))["message"]
        assert "in a space already" in (await one.ask("join", join=made["join"]))["message"]
        assert len(served.registry.spaces) == 1


async def test_files_and_who_hears_of_them(tmp_path: Path) -> None:
    async with serving(tmp_path) as served, member(served) as ada, member(served) as bob:
        join = (await ada.ask("init", user="ada"))["join"]
        await bob.ask("join", join=join, user="bob")
        assert (await ada.hear())["type"] == "joined"
        await ada.cmd("write", path="a/b", content="x")
        assert await bob.hear() == {"type": "change", "change": "write", "path": "a/b", "user": "ada"}
        await bob.cmd("write", path="full/c", content="x")
        error = await bob.hear()
        assert (error["code"], "No space left" in error["message"]) == ("refused", True)
        listed = await ada.ask("cmd", command={"type": "list"})
        assert listed["items"] == [{"name": "a/b", "type": "file", "size": 1, "mtime": 0}]
        await ada.cmd("write", path="../x", content="x")
        assert (await ada.hear())["code"] == "bad_request"
        await ada.cmd("create", path="a/b")
        assert (await ada.hear())["code"] == "exists"
        assert (await ada.ask("cmd", command={"type": "read"}, path="a/b"))["content"] == "x"
        assert served.registry.boxes[0].files == {"a/b": b"x"}


async def test_too_much_news(tmp_path: Path) -> None:
    async with serving(tmp_path) as served, member(served) as ada, member(served) as bob:
        join = (await ada.ask("init", user="ada"))["join"]
        await bob.ask("join", join=join, user="bob")
        space = served.registry.spaces[0]
        for number in range(NEWS_MAX + 1):
            space.changed(space.members[0], "create", str(number))
        missed = await bob.hear()
        assert (missed["type"], [each["user"] for each in missed["members"]]) == ("missed", ["ada", "bob"])
        assert (await bob.hear())["path"] == str(NEWS_MAX)


async def test_a_vanished_member_has_left(tmp_path: Path) -> None:
    async with serving(tmp_path) as served, member(served) as ada:
        join = (await ada.ask("init"))["join"]
        async with member(served) as bob:
            await bob.ask("join", join=join, user="bob")
            assert (await ada.hear())["type"] == "joined"
        left = await ada.hear()
        assert (left["type"], left["user"]) == ("left", "bob")
        assert [each["user"] for each in left["members"]] == ["host"]


async def test_the_end_of_a_space_is_told(tmp_path: Path) -> None:
    async with serving(tmp_path) as served, member(served) as ada:
        await ada.ask("init")
        served.registry.spaces[0].kill("it was over its limit of memory")
        error = await ada.hear()
        assert (error["type"], error["code"]) == ("error", "space_ended")
        assert error["message"] == "the space has ended: it was over its limit of memory"
        assert await ada.closed() == 4410


async def test_a_failed_program_is_told_before_its_end(tmp_path: Path) -> None:
    async with serving(tmp_path) as served, member(served) as ada:
        await ada.ask("init")
        await ada.cmd("shell", command="echo")
        assert (await ada.hear())["message"] == "start bash: No such file or directory"
        assert await ada.hear() == {"type": "terminal-data-end"}
        await ada.cmd("shell", command="Ctrl+C")
        assert (await ada.hear())["code"] == "not_running"


@pytest.mark.parametrize("inside", [True, False])
async def test_draining(tmp_path: Path, inside: bool) -> None:
    async with serving(tmp_path, drain={"seconds": 0}) as served, member(served) as ada:
        if inside:
            await ada.ask("init")
        else:
            await ada.ask("join", join="wrong")
        signal.raise_signal(signal.SIGTERM)
        if inside:
            assert (await ada.hear())["code"] == "space_ended"
        assert await ada.closed() == (4410 if inside else 1001)


async def test_a_bug_is_told_by_its_reference(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with serving(tmp_path) as served, member(served) as ada:
        await ada.ask("init")
        monkeypatch.setattr(served.registry.boxes[0], "list", None)
        error = await ada.ask("cmd", command={"type": "list"})
        assert (error["code"], "reference" in error["hint"]) == ("internal", True)
        await ada.cmd("write", path="a", content="x")
        await until(lambda: served.registry.boxes[0].files == {"a": b"x"})
