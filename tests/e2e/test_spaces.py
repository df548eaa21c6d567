"""The published exchange of protocol 002 against a live daemon, frame for frame, with a host and a collaborator."""

import asyncio
import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed

from tests.e2e.serving import CONFIG, Daemon, serve
from tests.e2e.test_published import NODE, PATIENCE, Keys, runnerd
from tests.protocols.test_spaces import CREATE, DELETE, JOIN, PROJECT, RENAME, SHELL, STOP, WRITE

INIT = '{ "type": "init", "public_key": "YOUR_PUBLIC_KEY", "secret_key": "YOUR_SECRET_KEY" }'
NEWLINE = {"type": "terminal-newline", "data": ""}
END = {"type": "terminal-data-end"}
PROMPT = r"""{
  "type": "cmd",
  "project_name": "unified_workspace",
  "command": { "type": "write" },
  "path": "project/main.py",
  "content": "val = input('PROMPT: Enter Target String Name:')\nprint(f'Engine Captured Input Data Block: {val}')"
}"""
SERVER = SHELL.replace("python -u main.py", "python -m http.server 3000")
TYPED = SHELL.replace("cd project && python -u main.py", "CloudIDEEngineAdminUserPassed")
LIST = SHELL.replace("python -u main.py", "ls -la")

PYTHON = """\
import asyncio
import json
import websockets

async def get_secure_websocket_token():
    uri = "wss://embedenv.com/ws/spaces/defoult/"

    # Establish initialization connection
    async with websockets.connect(uri) as websocket:
        init_payload = {
            "type": "init",
            "public_key": "YOUR_PUBLIC_KEY_PLACEHOLDER",
            "secret_key": "YOUR_SECRET_KEY_PLACEHOLDER"
        }

        # Send initialization handshake
        await websocket.send(json.dumps(init_payload))

        # Receive connection response
        response = await websocket.recv()
        data = json.loads(response)

        if data.get("type") == "init" and "join" in data:
            join_key = data["join"]
            print(f"Secure Token obtained successfully: {join_key}")
            return join_key
        else:
            raise Exception("Secure Workspace Initialization failed.")

# Execute secure handshake
join_token = asyncio.run(get_secure_websocket_token())
"""
JAVASCRIPT = """\
// Retrieve the temporary join token securely from your backend server
const secureJoinToken = "SECURE_TOKEN_FROM_YOUR_BACKEND";

// Connect to the WebSocket Proxy
const wsUri = "wss://embedenv.com/ws/spaces/defoult/";
const ws = new WebSocket(wsUri);

ws.onopen = function() {
    // Send secure join payload (no private keys exposed!)
    const joinPayload = {
        "type": "join",
        "join": secureJoinToken,
        "user": "developer_collaborator",
        "color": "#6366f1"
    };
    ws.send(JSON.stringify(joinPayload));
    console.log("WebSocket secure join handshake dispatched!");
};

ws.onmessage = function(event) {
    const response = JSON.parse(event.data);
    console.log("Message received from Bridge:", response);
};
"""


class Member:
    """One connection, and what it was told."""

    def __init__(self, connection: ClientConnection) -> None:
        self.connection = connection

    async def send(self, frame: str) -> None:
        await self.connection.send(frame)

    async def hear(self) -> dict[str, Any]:
        async with asyncio.timeout(PATIENCE):
            message = await self.connection.recv()
        assert isinstance(message, str)
        return json.loads(message)

    async def cmd(self, kind: str, **fields: Any) -> None:
        inner = {name: fields.pop(name) for name in ("item", "command") if name in fields}
        if kind == "create":
            inner["path"] = fields.pop("path")
        await self.send(json.dumps({"type": "cmd", "command": {"type": kind, **inner}, **fields}))

    async def until_end(self) -> list[dict[str, Any]]:
        told = [await self.hear()]
        while told[-1] != END:
            told.append(await self.hear())
        return told

    async def shell(self, command: str) -> str:
        """What a command writes, whole lines."""
        await self.cmd("shell", command=command)
        return text_of(await self.until_end())


def text_of(told: list[dict[str, Any]]) -> str:
    return "".join("\n" if each == NEWLINE else each.get("data", "") for each in told)


def data(text: str) -> dict[str, Any]:
    return {"type": "terminal-data", "data": text}


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    """A daemon that wants keys; its spaces live on for a second."""
    settings = CONFIG + "\n[spaces]\ngrace = 1\nmembers = 3\n"
    with serve(tmp_path_factory.mktemp("guarded"), auth="keys", settings=settings) as daemon:
        yield daemon


@pytest.fixture(scope="module")
def keys(guarded: Daemon) -> Keys:
    return Keys(guarded)


def space(daemon: Daemon) -> connect:
    return connect(
        f"ws://127.0.0.1:{daemon.port}/ws/spaces/defoult/", open_timeout=PATIENCE, proxy=None, max_size=2**25
    )


def with_key(text: str, keys: Keys) -> str:
    for placeholder in ("YOUR_PUBLIC_KEY_PLACEHOLDER", "YOUR_PUBLIC_KEY"):
        text = text.replace(placeholder, keys.public)
    for placeholder in ("YOUR_SECRET_KEY_PLACEHOLDER", "YOUR_SECRET_KEY"):
        text = text.replace(placeholder, keys.secret)
    return text


def credits(daemon: Daemon, keys: Keys) -> int:
    listed = json.loads(runnerd("keys", "list", "--json", "--state-dir", str(daemon.state_dir)))
    return next(each["credits"] for each in listed if each["public_key"] == keys.public)


async def init(member: Member, keys: Keys) -> str:
    await member.send(with_key(INIT, keys))
    made = await member.hear()
    assert made["type"] == "init", made
    return made["join"]


async def join(member: Member, key: str) -> dict[str, Any]:
    await member.send(JOIN.replace("GENERATED_JOIN_KEY", key))
    return await member.hear()


def test_the_published_steps(guarded: Daemon, keys: Keys) -> None:
    """Step 12 (curl) is not spoken yet."""
    before = credits(guarded, keys)

    async def talk() -> None:
        async with space(guarded) as first, space(guarded) as second:
            host, other = Member(first), Member(second)

            async def all_hear(*frames: dict[str, Any]) -> None:
                for member in (host, other):
                    assert [await member.hear() for _ in frames] == list(frames)

            # 1
            await host.send(with_key(INIT, keys))
            made = await host.hear()
            assert made == {"type": "init", "join": made["join"], "remaining_credits": before - 1}
            people = [
                {"user": "host", "color": "#22c55e", "host": True},
                {"user": "collaborator", "color": "#6366f1", "host": False},
            ]
            who = {"user": "collaborator", "color": "#6366f1", "members": people}
            assert await join(other, made["join"]) == {"type": "join", "join": made["join"], **who}
            assert await host.hear() == {"type": "joined", **who}
            # 2
            await host.send(PROJECT)
            assert await host.hear() == {"type": "msg", "message": "project created"}
            # 3 to 6: nothing is answered
            for frame in (CREATE, WRITE, RENAME, DELETE):
                await host.send(frame)
            told = [await other.hear() for _ in range(5)]
            assert [(each["type"], each["change"], each["path"]) for each in told] == [
                ("change", "project", "project"),
                ("change", "create", "project/utils.py"),
                ("change", "write", "project/utils.py"),
                ("change", "rename", "project/utils.py"),
                ("change", "delete", "project/core_utils.py"),
            ]
            assert told[3]["to"] == "project/core_utils.py"
            # 7
            await host.send(SHELL)
            await all_hear(data("Root File Loaded Successfully"), NEWLINE, END)
            # 8
            await other.send(PROMPT)
            assert (await host.hear())["path"] == "project/main.py"
            # 9
            await other.send(SHELL)
            await all_hear(data("PROMPT: Enter Target String Name:"), NEWLINE)
            # 10
            await host.send(TYPED)
            typed = "Engine Captured Input Data Block: CloudIDEEngineAdminUserPassed"
            await all_hear(data(typed), NEWLINE, END)
            # 11
            await host.send(SERVER.replace("python", "python -u"))
            await all_hear(data("Serving HTTP on 0.0.0.0 port 3000 (http://0.0.0.0:3000/) ..."), NEWLINE)
            # 13, where a program may say a last word
            await host.send(STOP)
            for member in (host, other):
                assert text_of(await member.until_end()) == "\nKeyboard interrupt received, exiting.\n"
            # 14
            await host.send(LIST)
            listed = [text_of(await member.until_end()) for member in (host, other)]
            assert listed[0] == listed[1]
            lines = listed[0].splitlines()
            assert re.fullmatch(r"total \d+", lines[0])
            assert re.search(r"-rw-r--r-- .* \d+ .* main\.py$", lines[-1])
            assert len(lines) == 4

    asyncio.run(talk())
    assert credits(guarded, keys) == before - 1


def here(snippet: str, daemon: Daemon) -> str:
    return snippet.replace("wss://embedenv.com", daemon.url.replace("http:", "ws:"))


def test_the_published_clients(guarded: Daemon, keys: Keys) -> None:
    """The backend's connection is closed by the time the page's client comes with its key."""
    program = with_key(here(PYTHON, guarded), keys)
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=PATIENCE)
    assert done.returncode == 0, done.stderr
    said, key = done.stdout.strip().rsplit(" ", 1)
    assert said == "Secure Token obtained successfully:"
    assert len(key.rpartition("-")[2]) == 32, "128 bits in hex"
    program = here(JAVASCRIPT.replace("SECURE_TOKEN_FROM_YOUR_BACKEND", key), guarded)
    with subprocess.Popen([Path(NODE), "-e", program], stdout=subprocess.PIPE, text=True) as node:
        assert node.stdout is not None
        try:
            assert node.stdout.readline() == "WebSocket secure join handshake dispatched!\n"
            assert node.stdout.readline() == "Message received from Bridge: {\n"
            assert node.stdout.readline() == "  type: 'join',\n"
            assert node.stdout.readline() == f"  join: '{key}',\n"
            assert node.stdout.readline() == "  user: 'developer_collaborator',\n"
        finally:
            node.kill()


def test_who_may_not_come_in(guarded: Daemon, keys: Keys) -> None:
    poor = Keys(guarded, credits=0)

    async def first_word(frame: str) -> tuple[str, int | None]:
        """The error's code, and what the server closes with if it does."""
        async with space(guarded) as connection:
            member = Member(connection)
            await member.send(frame)
            error = await member.hear()
            assert error["type"] == "error"
            assert error["message"]
            try:
                await member.send("{}")
                await member.hear()
            except ConnectionClosed as end:
                assert end.rcvd is not None
                return error["code"], end.rcvd.code
            return error["code"], None

    async def talk() -> None:
        assert await first_word(INIT) == ("unauthorized", 4401)
        assert await first_word('{"type": "init"}') == ("unauthorized", 4401)
        assert await first_word(with_key(INIT, keys).replace(keys.public, poor.public)) == ("unauthorized", 4401)
        assert await first_word(with_key(INIT, poor)) == ("no_credits", None)
        assert await first_word(JOIN) == ("not_found", None)
        assert await first_word(SHELL) == ("bad_request", None)

    asyncio.run(talk())


def test_coming_back_within_the_grace_and_later(guarded: Daemon, keys: Keys) -> None:
    async def talk() -> None:
        async with space(guarded) as connection:
            host = Member(connection)
            key = await init(host, keys)
            await host.cmd("write", path="a", content="1")
            assert await host.shell("cat a; echo; sleep 0.2; echo end") == "1\nend\n"
        async with space(guarded) as connection:
            back = Member(connection)
            assert (await join(back, key))["members"] == [{"user": "collaborator", "color": "#6366f1", "host": False}]
            assert await back.shell("cat a") == "1"
        await asyncio.sleep(1.5)
        async with space(guarded) as connection:
            assert (await join(Member(connection), key))["code"] == "not_found"

    asyncio.run(talk())


def test_members_and_join_keys(guarded: Daemon, keys: Keys) -> None:
    async def talk() -> None:
        async with space(guarded) as one, space(guarded) as two, space(guarded) as three, space(guarded) as four:
            host, second, third, fourth = map(Member, (one, two, three, four))
            key = await init(host, keys)
            assert (await join(second, key))["user"] == "collaborator"
            assert (await join(third, key))["user"] == "collaborator 2"
            assert (await join(fourth, key))["code"] == "busy"
            assert (await host.hear())["type"] == (await host.hear())["type"] == "joined"
            assert (await second.hear())["user"] == "collaborator 2"
            await third.connection.close()
            left = await host.hear()
            assert (left["type"], left["user"], len(left["members"])) == ("left", "collaborator 2", 2)
            assert await second.hear() == left
            await second.send('{"type": "revoke"}')
            assert (await second.hear())["code"] == "forbidden"
            await host.send('{"type": "revoke"}')
            renewed = await host.hear()
            assert renewed["type"] == "revoke"
            assert renewed["join"] != key
            assert (await join(fourth, key))["code"] == "not_found"
            joining = {"type": "join", "join": renewed["join"], "public_key": keys.public, "secret_key": keys.secret}
            await fourth.send(json.dumps(joining))
            assert (await fourth.hear())["members"][-1] == {"user": "member", "color": "#6366f1", "host": True}
            await fourth.send('{"type": "revoke"}')
            assert (await fourth.hear())["type"] == "revoke"
            assert await second.shell("echo still in") == "still in\n"

    asyncio.run(talk())


def test_a_revoked_key_ends_its_spaces(guarded: Daemon) -> None:
    keys = Keys(guarded)

    async def talk() -> None:
        async with space(guarded) as one, space(guarded) as two:
            host, other = Member(one), Member(two)
            await join(other, await init(host, keys))
            await host.hear()
            await asyncio.to_thread(runnerd, "keys", "revoke", keys.public, "--state-dir", str(guarded.state_dir))
            for member in (host, other):
                error = await member.hear()
                assert (error["code"], "revoked" in error["message"]) == ("space_ended", True)
                with pytest.raises(ConnectionClosed) as end:
                    await member.hear()
                assert end.value.rcvd is not None
                assert end.value.rcvd.code == 4410

    asyncio.run(talk())
