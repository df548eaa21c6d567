"""Two hundred clients at once, of all protocols, on one daemon: nobody hears what is another's."""

import asyncio
import json
import secrets
import struct
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
from websockets.asyncio.client import connect

from tests.e2e.serving import serve

pytestmark = [pytest.mark.soak, pytest.mark.timeout(300)]

CLIENTS = 200
WITHIN = 60.0
"""Seconds, on two cores that are busy with other things."""

SETTINGS = """\
[boxes]
max = 12
queue = 300
queue_wait = 120
pressure_memory = 0
pressure_cpu = 0

[profiles]
session = { wall = 300, idle = 300 }
execute = { wall = 300, idle = 300 }
widget = { wall = 300, idle = 300 }
"""
PROMPT = "? "
CODE = """\
import sys
said = input('? ')
for line in range(50):
    print(line, said)
print(said, file=sys.stderr)
sys.exit(int(said[:2], 16))
"""


@dataclass
class Heard:
    """What one client was told of its program."""

    stdout: str = ""
    stderr: str = ""
    code: int | None = None
    outcome: str = ""

    def take(self, channel: str, text: str) -> None:
        setattr(self, channel, getattr(self, channel) + text)


ASKED = Heard(PROMPT)
"""When a client types: once, since what comes next may be of either stream."""


def expected(secret: str, prompt: str = PROMPT) -> Heard:
    text = prompt + "".join(f"{line} {secret}\n" for line in range(50))
    return Heard(text, f"{secret}\n", int(secret[:2], 16), "exited")


class Service:
    """The daemon, as clients of each protocol use it."""

    def __init__(self, port: int, http: httpx.AsyncClient) -> None:
        self._port, self._http = port, http

    def _connect(self, path: str, **options: Any) -> connect:
        return connect(
            f"ws://127.0.0.1:{self._port}{path}", open_timeout=WITHIN, ping_timeout=None, proxy=None, **options
        )

    async def terminal(self, secret: str) -> Heard:
        heard, stream = Heard(), secrets.randbelow(2**32)
        async with self._connect("/api/v1/terminal", subprotocols=["runnerd.v1"]) as connection:
            start = {"type": "start", "stream": stream, "language": "python", "code": CODE, "mode": "split"}
            await connection.send(json.dumps(start))
            async for message in connection:
                if isinstance(message, bytes):
                    channel, number, offset = struct.unpack_from(">BIQ", message)
                    assert (number, offset) == (stream, len(heard.stdout + heard.stderr))
                    heard.take("stdout" if channel == 1 else "stderr", message[13:].decode())
                    if heard == ASKED:
                        await connection.send(struct.pack(">BI", 0, stream) + f"{secret}\n".encode())
                    continue
                told = json.loads(message)
                assert told.get("stream") == stream, told
                if told["type"] == "exit":
                    heard.code, heard.outcome = told["code"], told["outcome"]
                    break
                assert told["type"] in ("started", "state"), told
        return heard

    async def execute(self, secret: str) -> Heard:
        heard = Heard()
        async with self._connect("/ws") as connection:
            run = {"action": "execute", "language": "python", "code": CODE, "id": secret}
            await connection.send(json.dumps(run))
            async for message in connection:
                told = json.loads(message)
                assert told["id"] == secret, told
                if _answer(heard, told):
                    break
                if heard == ASKED:
                    await connection.send(json.dumps({"action": "stdin", "data": f"{secret}\n", "id": secret}))
        return heard

    async def widget(self, secret: str) -> Heard:
        heard = Heard()
        async with self._connect("/ws") as connection:
            run = {"event": "run_code", "data": {"language": "python", "code": CODE}}
            await connection.send(json.dumps(run))
            async for message in connection:
                told, data = (fields := json.loads(message))["event"], fields["data"]
                if told == "exit":
                    heard.code, heard.outcome = data["code"], data["outcome"]
                    break
                assert told in ("stdout", "stderr"), fields
                heard.take(told, data["text"])
                if heard == ASKED:
                    await connection.send(json.dumps({"event": "stdin", "data": {"text": f"{secret}\n"}}))
        return heard

    async def session(self, secret: str) -> Heard:
        answer = await self._http.post("/session", json={"language": "python", "code": CODE})
        session = answer.json()["sessionId"]
        typist, watcher = await asyncio.gather(self._watch(session, secret), self._watch(session, None))
        assert typist == watcher
        return typist

    async def _watch(self, session: str, secret: str | None) -> Heard:
        heard = Heard()
        async with self._connect(f"/ws/session/{session}") as connection:
            async for message in connection:
                told = json.loads(message)
                if told["type"] == "state":
                    if told["state"] in ("finished", "terminated"):
                        heard.code, heard.outcome = told["exitCode"], told["reason"]
                    continue
                assert told["type"] in ("stdout", "stderr"), told
                assert told["offset"] == len(heard.stdout + heard.stderr)
                heard.take(told["type"], told["data"])
                if secret is not None and heard == ASKED:
                    await connection.send(json.dumps({"type": "input", "data": f"{secret}\n"}))
            assert connection.close_code == 1000
        return heard

    async def rest(self, secret: str) -> Heard:
        run = {"language": "python", "code": CODE, "stdin": f"{secret}\n"}
        answer = await self._http.post("/api/v1/execute", json=run)
        heard = Heard()
        assert _answer(heard, answer.json()), answer.text
        return heard

    async def events(self, secret: str) -> Heard:
        heard, last = Heard(), False
        run = {"language": "python", "code": CODE, "stdin": f"{secret}\n", "id": secret}
        accept = {"Accept": "text/event-stream"}
        async with self._http.stream("POST", "/api/v1/execute", json=run, headers=accept) as answer:
            async for line in answer.aiter_lines():
                if line.startswith("data: "):
                    assert not last
                    told = json.loads(line.removeprefix("data: "))
                    assert told["id"] == secret, told
                    last = _answer(heard, told)
        return heard


def _answer(heard: Heard, told: dict[str, Any]) -> bool:
    """Take one of protocol 000's answers; whether it is the last."""
    assert "error" not in told, told
    heard.take("stdout", told["stdout"])
    heard.take("stderr", told["stderr"])
    if "exit_code" not in told:
        return False
    heard.code, heard.outcome = told["exit_code"], told["outcome"]
    return True


async def all_at_once(port: int) -> None:
    limits = httpx.Limits(max_connections=None)
    async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", timeout=150, limits=limits) as http:
        service = Service(port, http)
        kinds: list[Callable[[str], Awaitable[Heard]]] = [
            service.terminal,
            service.execute,
            service.widget,
            service.session,
            service.rest,
            service.events,
        ]
        secret = [secrets.token_hex(16) for _ in range(CLIENTS)]
        async with asyncio.timeout(WITHIN):
            heard = await asyncio.gather(*(kinds[number % len(kinds)](secret[number]) for number in range(CLIENTS)))
        for number, each in enumerate(heard):
            assert each == expected(secret[number]), (kinds[number % len(kinds)].__name__, each)
        metrics = (await http.get("/metrics")).text
        assert f'runnerd_sessions_ended_total{{outcome="exited"}} {CLIENTS}\n' in metrics


def test_no_frame_crosses_sessions(tmp_path: Path) -> None:
    with serve(tmp_path, settings=SETTINGS) as daemon:
        asyncio.run(all_at_once(daemon.port))
