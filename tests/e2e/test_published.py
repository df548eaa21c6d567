"""The published snippets of protocols 000, 001 and 003 against a live daemon: word for word, address and key aside.

The snippets are their services' own; line ends are where the published page lost them.
"""

import asyncio
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidStatus

from tests.e2e.serving import Daemon, serve

NODE = Path(sys.executable).with_name("node")
RUNNERD = Path(sys.executable).with_name("runnerd")
PATIENCE = 30.0

JAVASCRIPT = """\
// Connect to Embedenv WebSocket Engine
const ws = new WebSocket('wss://embedenv.com/ws');
ws.onopen = () => { console.log('Connected to Embedenv'); ws.send(JSON.stringify({ action: 'execute', \
language: 'python', code: 'print("Hello from WebSocket!")', api_key: 'your-api-key' })); };
ws.onmessage = (event) => { const data = JSON.parse(event.data); console.log('stdout:', data.stdout); \
console.log('time:', data.execution_time); };
"""
PYTHON = """\
# pip install websockets
import asyncio
import websockets
import json
async def execute_code():
    uri = "wss://embedenv.com/ws"
    async with websockets.connect(uri) as ws:
        payload = { "action": "execute", "language": "python", "code": "print('Hello from WebSocket!')", \
"api_key": "your-api-key" }
        await ws.send(json.dumps(payload))
        result = json.loads(await ws.recv())
        print(f"stdout: {result['stdout']}")
        print(f"time: {result['execution_time']}ms")
asyncio.run(execute_code())
"""
CURL = r"""
curl -X POST https://embedenv.com/api/v1/execute \
 -H "Content-Type: application/json" \
 -H "Authorization: Bearer your-api-key" \
 -d '{ "language": "python", "code": "print(\"Hello from REST!\")", "timeout": 10 }'
"""
RUN_CODE = r"""{
 "event": "run_code",
 "data": {
 "code": "name = input('Name: ')\nprint('Hello ' + name)",
 "language": "python",
 "token": "timestamp_signature_string"
 }
}"""
STDIN = r"""{
 "event": "stdin",
 "data": {
 "text": "Rajesh\n"
 }
}"""
SESSION = """{ "language": "python", "code": "print('Hello World')" }"""
INPUT = r"""{"type": "input", "data": "user input\n"}"""


class Keys:
    """What a client of a daemon that wants keys has: its own, and a token made of it."""

    def __init__(self, daemon: Daemon, credits: int = 10) -> None:
        state = ["--state-dir", str(daemon.state_dir)]
        made = json.loads(runnerd("keys", "create", "--credits", str(credits), "--json", *state))
        self.public, self.secret = made["public_key"], made["secret_key"]

    def token(self) -> str:
        return runnerd("keys", "sign", self.public, RUNNERD_SECRET_KEY=self.secret).strip()


def runnerd(*words: str, **env: str) -> str:
    done = subprocess.run([RUNNERD, *words], env={**os.environ, **env}, capture_output=True, text=True, check=True)
    return done.stdout


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    """A daemon that wants keys."""
    with serve(tmp_path_factory.mktemp("guarded"), auth="keys") as daemon:
        yield daemon


@pytest.fixture(scope="module")
def keys(guarded: Daemon) -> Keys:
    return Keys(guarded)


def here(snippet: str, daemon: Daemon, key: str) -> str:
    """A snippet with this daemon's address, and this key."""
    local = snippet.replace("wss://embedenv.com", daemon.url.replace("http:", "ws:"))
    return local.replace("https://embedenv.com", daemon.url).replace("your-api-key", key)


def ws(daemon: Daemon, path: str, **options: Any) -> connect:
    return connect(f"ws://127.0.0.1:{daemon.port}{path}", open_timeout=PATIENCE, proxy=None, **options)


async def hear(connection: ClientConnection) -> dict[str, Any]:
    async with asyncio.timeout(PATIENCE):
        message = await connection.recv()
    assert isinstance(message, str)
    return json.loads(message)


async def closed(connection: ClientConnection) -> int:
    """The code that the server closes with, when nothing else comes."""
    with pytest.raises(ConnectionClosed) as caught:
        await hear(connection)
    assert caught.value.rcvd is not None
    return caught.value.rcvd.code


# --- 000 -------------------------------------------------------------------------------------------------------


def test_000_javascript(guarded: Daemon, keys: Keys) -> None:
    """The snippet never closes its connection, so that node runs on: it is ended when it has said what it should."""
    with subprocess.Popen(
        [NODE, "-e", here(JAVASCRIPT, guarded, keys.secret)], stdout=subprocess.PIPE, text=True
    ) as node:
        assert node.stdout is not None
        try:
            assert node.stdout.readline() == "Connected to Embedenv\n"
            assert node.stdout.readline() == "stdout: Hello from WebSocket!\n"
            while (line := node.stdout.readline()) in ("\n", "stdout: \n"):
                pass
            name, _, value = line.partition(" ")
            assert name == "time:"
            assert 0 <= float(value) < PATIENCE * 1000
        finally:
            node.kill()


def test_000_python(guarded: Daemon, keys: Keys) -> None:
    done = subprocess.run(
        [sys.executable, "-c", here(PYTHON, guarded, keys.secret)], capture_output=True, text=True, timeout=PATIENCE
    )
    assert done.returncode == 0, done.stderr
    said, blank, time = done.stdout.splitlines()
    assert (said, blank) == ("stdout: Hello from WebSocket!", "")
    assert 0 <= float(time.removeprefix("time: ").removesuffix("ms")) < PATIENCE * 1000


def test_000_python_is_told_an_error_without_falling_over_it(guarded: Daemon) -> None:
    """The snippet looks at `stdout` and `execution_time` of whatever comes first."""
    done = subprocess.run(
        [sys.executable, "-c", here(PYTHON, guarded, "wrong")], capture_output=True, text=True, timeout=PATIENCE
    )
    assert (done.returncode, done.stdout) == (0, "stdout: \ntime: 0.0ms\n"), done.stderr


def test_000_curl(guarded: Daemon, keys: Keys) -> None:
    command = here(CURL, guarded, keys.secret).replace("curl", "curl --silent --show-error", 1)
    done = subprocess.run(["sh", "-c", command], capture_output=True, text=True, timeout=PATIENCE, check=True)
    answer = json.loads(done.stdout)
    assert (answer["stdout"], answer["stderr"], answer["exit_code"]) == ("Hello from REST!\n", "", 0)
    assert answer["execution_time"].removesuffix("ms").isdigit()


def test_000_interactively(daemon: Daemon) -> None:
    async def talk() -> None:
        async with ws(daemon, "/ws") as connection:
            code = "import sys\nname = input('Name: ')\nprint('Hello', name)\nprint('oops', file=sys.stderr)"
            run = {"action": "execute", "language": "python", "code": code, "id": "mine"}
            await connection.send(json.dumps(run))
            assert (await hear(connection))["stdout"] == "Name: "
            await connection.send(json.dumps(run))
            assert (await hear(connection))["code"] == "busy"
            await connection.send('{"action": "stdin", "data": "Ada\\n", "id": "mine"}')
            texts = {"stdout": "", "stderr": ""}
            while "exit_code" not in (frame := await hear(connection)):
                assert frame["id"] == "mine"
                for name in texts:
                    texts[name] += frame[name]
            for name in texts:
                texts[name] += frame[name]
            assert texts == {"stdout": "Hello Ada\n", "stderr": "oops\n"}
            assert (frame["exit_code"], frame["outcome"]) == (0, "exited")
            await connection.send('{"action": "ping", "id": 5}')
            assert (await hear(connection))["id"] == 5

    asyncio.run(talk())


def test_one_run_at_a_time_whatever_the_protocol(daemon: Daemon) -> None:
    run = {"language": "python", "code": "print('up')\ninput()"}
    messages = [
        {"action": "execute", **run},
        {"action": "execute", "id": "a", **run},
        {"event": "run_code", "data": run},
    ]

    async def talk() -> None:
        for first in messages:
            async with ws(daemon, "/ws") as connection:
                await connection.send(json.dumps(first))
                assert "up" in json.dumps(await hear(connection))
                for second in messages:
                    await connection.send(json.dumps(second))
                    told = await hear(connection)
                    assert told.get("data", told)["code"] == "busy", (first, second, told)
                await connection.send('{"action": "ping"}')
                assert (await hear(connection))["pong"] is True

    asyncio.run(talk())


@pytest.mark.parametrize("how", ["kill", "signal", "eof", "timeout"])
def test_000_ends(daemon: Daemon, how: str) -> None:
    async def talk() -> dict[str, Any]:
        async with ws(daemon, "/ws") as connection:
            code = "print('up')\nimport sys\nsys.stdin.read()\nprint('end')"
            options = {"timeout": 1.5} if how == "timeout" else {}
            await connection.send(json.dumps({"action": "execute", "language": "python", "code": code, **options}))
            assert (await hear(connection))["stdout"] == "up\n"
            if how != "timeout":
                await connection.send(json.dumps({"action": how, "signal": "KILL"}))
            while "exit_code" not in (frame := await hear(connection)):
                pass
            return frame

    last = asyncio.run(talk())
    assert last["outcome"] == {"kill": "killed", "signal": "signal", "eof": "exited", "timeout": "wall"}[how]


# --- 001 -------------------------------------------------------------------------------------------------------


async def widget(daemon: Daemon, token: str) -> None:
    async with ws(daemon, "/ws") as connection:
        await connection.send(RUN_CODE.replace("timestamp_signature_string", token))
        assert await hear(connection) == {"event": "stdout", "data": {"text": "Name: "}}
        await connection.send(STDIN)
        assert await hear(connection) == {"event": "stdout", "data": {"text": "Hello Rajesh\n"}}
        last = await hear(connection)
        assert (last["event"], last["data"]["code"], last["data"]["outcome"]) == ("exit", 0, "exited")


def test_001_with_a_token(guarded: Daemon, keys: Keys) -> None:
    asyncio.run(widget(guarded, keys.token()))


def test_001_as_published_where_no_key_is_needed(daemon: Daemon) -> None:
    asyncio.run(widget(daemon, "timestamp_signature_string"))


def test_001_wrong_tokens(guarded: Daemon, keys: Keys) -> None:
    token = keys.token()
    wrong = [token[:-1] + ("0" if token[-1] != "0" else "1"), "timestamp_signature_string", "", f"{keys.public}.1_00"]

    async def talk() -> None:
        async with ws(guarded, "/ws") as connection:
            for each in [*wrong, token]:
                await connection.send(RUN_CODE.replace("timestamp_signature_string", each))
                told = await hear(connection)
                if each != token:
                    assert (told["event"], told["data"]["code"]) == ("error", "bad_token")
                else:
                    assert told == {"event": "stdout", "data": {"text": "Name: "}}

    asyncio.run(talk())


# --- 003 -------------------------------------------------------------------------------------------------------


def make_session(daemon: Daemon, body: str = SESSION, **options: Any) -> str:
    answer = httpx.post(f"{daemon.url}/session", content=body, timeout=PATIENCE, **options)
    assert answer.status_code == 200, answer.text
    assert set(answer.json()) == {"sessionId"}
    return answer.json()["sessionId"]


async def watch(daemon: Daemon, session: str, query: str = "") -> list[dict[str, Any]]:
    """All that a watcher is told until the server closes, which must be with 1000."""
    told: list[dict[str, Any]] = []
    async with ws(daemon, f"/ws/session/{session}{query}") as connection:
        while True:
            try:
                told.append(await hear(connection))
            except ConnectionClosed as end:
                assert end.rcvd is not None
                assert end.rcvd.code == 1000
                return told


def text_of(told: list[dict[str, Any]], kind: str = "stdout") -> str:
    return "".join(each["data"] for each in told if each["type"] == kind)


def test_003_as_published(daemon: Daemon) -> None:
    session = make_session(daemon)
    told = asyncio.run(watch(daemon, session))
    assert told[0] == {"type": "state", "state": "running"}
    assert text_of(told) == "Hello World\n"
    last = told[-1]
    assert (last["type"], last["state"], last["exitCode"], last["reason"]) == ("state", "finished", 0, "exited")
    again = asyncio.run(watch(daemon, session))
    assert text_of(again) == "Hello World\n"
    assert again[-1] == last
    assert text_of(asyncio.run(watch(daemon, session, "?offset=6"))) == "World\n"


def test_003_input_and_several_watchers(daemon: Daemon) -> None:
    code = "import sys\nprint(input('? '), 'came')\nprint('oops', file=sys.stderr)\nsys.exit(3)"
    session = make_session(daemon, json.dumps({"language": "python", "code": code}))

    async def talk() -> None:
        async with ws(daemon, f"/ws/session/{session}") as typist:
            told = [await hear(typist)]
            assert told[0] == {"type": "state", "state": "running"}
            while text_of(told) != "? " or told[-1] != {"type": "state", "state": "waiting"}:
                told.append(await hear(typist))
            other = asyncio.create_task(watch(daemon, session))
            await asyncio.sleep(0)
            await typist.send(INPUT)
            while (frame := await hear(typist)).get("state") not in ("finished", "terminated"):
                told.append(frame)
            assert (frame["state"], frame["exitCode"]) == ("finished", 3)
            assert await closed(typist) == 1000
            seen = await other
            assert text_of(seen) == text_of(told) == "? user input came\n"
            assert text_of(seen, "stderr") == text_of(told, "stderr") == "oops\n"
            assert not any(each.get("state") == "created" for each in [*told, *seen])

    asyncio.run(talk())


@pytest.mark.parametrize("how", ["DELETE", "kill"])
def test_003_is_terminated(daemon: Daemon, how: str) -> None:
    session = make_session(daemon, json.dumps({"language": "python", "code": "input('? ')"}))

    async def talk() -> None:
        async with ws(daemon, f"/ws/session/{session}") as connection:
            while (await hear(connection))["type"] != "stdout":
                pass
            if how == "kill":
                await connection.send('{"type": "kill"}')
            else:
                answer = await asyncio.to_thread(httpx.delete, f"{daemon.url}/session/{session}")
                assert (answer.status_code, answer.content) == (204, b"")
            while (frame := await hear(connection)).get("state") != "terminated":
                pass
            assert frame["reason"] == "killed"
            assert await closed(connection) == 1000

    asyncio.run(talk())


def test_003_what_is_not_there(daemon: Daemon) -> None:
    session = make_session(daemon)
    asyncio.run(watch(daemon, session))
    assert httpx.delete(f"{daemon.url}/session/nobody").status_code == 404

    async def talk(path: str) -> int:
        with pytest.raises(InvalidStatus) as caught:
            async with ws(daemon, path):
                pass
        return caught.value.response.status_code

    assert asyncio.run(talk("/ws/session/nobody")) == 404
    assert asyncio.run(talk("/ws/session/")) == 404
    for offset in ("-1", "x", "1e3", "99999999999999999999", "%00", "٣"):
        assert asyncio.run(talk(f"/ws/session/{session}?offset={offset}")) == 400, offset
    assert httpx.get(f"{daemon.url}/ws/session/{session}").status_code == 426


def test_003_with_keys_the_id_suffices(guarded: Daemon, keys: Keys) -> None:
    answer = httpx.post(f"{guarded.url}/session", content=SESSION)
    assert (answer.status_code, answer.json()["code"]) == (401, "unauthorized")
    for header in ({"X-API-Key": keys.secret}, {"Authorization": f"Bearer {keys.secret}"}):
        session = make_session(guarded, headers=header)
        assert len(session.rpartition("-")[2]) >= 32, "128 bits in hex"
        assert text_of(asyncio.run(watch(guarded, session))) == "Hello World\n"


# --- keys ------------------------------------------------------------------------------------------------------


def test_a_key_in_the_handshake_is_not_needed_again(guarded: Daemon, keys: Keys) -> None:
    async def talk(headers: dict[str, str]) -> dict[str, Any]:
        async with ws(guarded, "/ws", additional_headers=headers) as connection:
            await connection.send('{"action": "execute", "language": "python", "code": "print(1)"}')
            return await hear(connection)

    for headers in ({"Authorization": f"Bearer {keys.secret}"}, {"X-API-Key": keys.secret}):
        assert asyncio.run(talk(headers))["stdout"] == "1\n"
    assert asyncio.run(talk({}))["code"] == "unauthorized"


@pytest.mark.parametrize("where", ["message", "header"])
def test_a_wrong_key_closes_with_4401(guarded: Daemon, keys: Keys, where: str) -> None:
    async def talk() -> None:
        headers = {"X-API-Key": keys.secret + "x"} if where == "header" else {}
        async with ws(guarded, "/ws", additional_headers=headers) as connection:
            if where == "message":
                run = {"action": "execute", "language": "python", "code": "", "api_key": "wrong"}
                await connection.send(json.dumps(run))
            error = await hear(connection)
            assert (error["code"], error["stdout"], error["execution_time"]) == ("unauthorized", "", 0)
            assert await closed(connection) == 4401

    asyncio.run(talk())


# --- bad input -------------------------------------------------------------------------------------------------

LIMIT = 16 * 1024**2
"""http.message_size as it is by default."""


def padded(code: str, size: int) -> str:
    """A request of exactly so many bytes."""
    empty = len(json.dumps({"language": "python", "code": code + "#"}))
    return json.dumps({"language": "python", "code": code + "#" + "x" * (size - empty)})


def test_code_up_to_the_limit_and_beyond_by_rest(daemon: Daemon) -> None:
    code = "import os\nprint(os.path.getsize(__file__))\n"
    answer = httpx.post(f"{daemon.url}/api/v1/execute", content=padded(code, LIMIT), timeout=PATIENCE)
    assert answer.status_code == 200
    assert int(answer.json()["stdout"]) > LIMIT - 100
    answer = httpx.post(f"{daemon.url}/api/v1/execute", content=padded(code, LIMIT + 1), timeout=PATIENCE)
    assert (answer.status_code, answer.json()["code"]) == (413, "too_large")


def test_a_message_beyond_the_limit_closes_with_1009(daemon: Daemon) -> None:
    async def talk() -> None:
        async with ws(daemon, "/ws", max_size=None) as connection:
            await connection.send(padded("", LIMIT + 1))
            assert await closed(connection) == 1009

    asyncio.run(talk())


def test_nul_and_any_bytes_pass(daemon: Daemon) -> None:
    run = {"language": "python", "code": "import sys\nprint(ascii(sys.stdin.buffer.read()))"}
    body = {**run, "stdin": {"base64": "AP/+"}}
    answer = httpx.post(f"{daemon.url}/api/v1/execute", json=body, timeout=PATIENCE).json()
    assert answer["stdout"] == "b'\\x00\\xff\\xfe'\n"
    answer = httpx.post(f"{daemon.url}/api/v1/execute", json={**run, "stdin": "a\0b"}, timeout=PATIENCE).json()
    assert answer["stdout"] == "b'a\\x00b'\n"
    code = "print(ascii(open('nul').read()), ascii(open(__file__).read()[-1]))\n\0"
    body = {"language": "python", "code": code, "files": {"nul": "a\0b"}}
    answer = httpx.post(f"{daemon.url}/api/v1/execute", json=body, timeout=PATIENCE).json()
    assert answer["outcome"] == "exited"
    # Python before 3.12 reads a program up to its first NUL.
    assert answer["stdout"] == r"'a\x00b' '\x00'" + "\n" or "null bytes" in answer["stderr"]


@pytest.mark.parametrize("field", [{"main": "a\0"}, {"language": "python\0"}, {"args": ["\0"]}, {"env": {"A": "\0"}}])
@pytest.mark.parametrize("path", ["/api/v1/execute", "/session"])
def test_nul_where_it_cannot_be(daemon: Daemon, field: dict[str, Any], path: str) -> None:
    body = {"language": "python", "code": "", **field}
    answer = httpx.post(f"{daemon.url}{path}", json=body, timeout=PATIENCE)
    assert answer.status_code == 400, answer.text
    assert answer.json()["error"]


BAD: list[str | bytes] = ['{"action": "execute", "co', "[" * 100_000, b"\0\1", '{"action": 3}', '{"event": "x"}', "{}"]


def test_bad_frames_keep_the_connection_and_invalid_utf8_ends_it(daemon: Daemon) -> None:
    async def talk() -> None:
        async with ws(daemon, "/ws") as connection:
            for frame in BAD:
                await connection.send(frame)
                told = await hear(connection)
                assert "error" in told or told["event"] == "error"
            await connection.send('{"action": "execute", "language": "python", "code": "print(1)"}')
            assert (await hear(connection))["stdout"] == "1\n"
        async with ws(daemon, "/ws") as connection:
            await connection.send(b'{"action": "\xff"}', text=True)
            assert await closed(connection) == 1007

    asyncio.run(talk())


def test_bad_frames_keep_a_session(daemon: Daemon) -> None:
    session = make_session(
        daemon, json.dumps({"language": "python", "code": "import sys\nprint(sys.stdin.readline())"})
    )

    async def talk() -> None:
        async with ws(daemon, f"/ws/session/{session}") as connection:
            for frame in ["{", b"x", '{"type": "dance"}', '{"type": "input", "data": 3}', "null"]:
                await connection.send(frame)
                while (told := await hear(connection))["type"] == "state":
                    pass
                assert told["type"] == "error"
            await connection.send('{"type": "input", "data": "\\u0000on\\n"}')
            while (told := await hear(connection))["type"] == "state":
                pass
            assert told["data"].startswith("\0on\n")

    asyncio.run(talk())
