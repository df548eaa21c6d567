"""runnerd's service in the machine, as its operator and its clients see it."""

import asyncio
import json
import socket
import struct
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

import websockets
from websockets.typing import Subprotocol

REPO, WHEELS = Path("/job/repo"), Path("/job/wheels")
ADDRESS = ("127.0.0.1", 8080)
URL = f"http://{ADDRESS[0]}:{ADDRESS[1]}"
DROP_INS = Path("/run/systemd/system/runnerd.service.d")
CONFIG = Path("/etc/runnerd/runnerd.toml")
PATIENCE = 120.0
"""Seconds: only the bound of a failure; everything is ten times slower in the machine."""

SAMPLES = {
    "python": "What is your name? How old are you? Hello Ada, in 10 years you will be 46.",
    "javascript": "What is your name? Hello Ada!",
    "c": "Give me a number: 12 squared is 144",
    "cpp": "What is your name? Hello Ada!",
    "java": "What is your name? Hello Ada!",
    "bash": "Hello Ada!",
}
"""The last line of each language's sample."""


def sh(command: str) -> str:
    """What the command writes; it must succeed."""
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, f"{command}: {done.returncode}\n{done.stdout}{done.stderr}"
    return done.stdout


def until(condition: Callable[[], object], what: str) -> None:
    """Wait for what others do."""
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline, f"{what}: not within {PATIENCE:g} s\n{journal()[-4000:]}"
        time.sleep(0.05)


def show(name: str, unit: str = "runnerd.service") -> str:
    return sh(f"systemctl show --value -p {name} {unit}").strip()


def journal(*matches: str) -> str:
    return sh(f"journalctl --no-pager -o cat -u runnerd.service {' '.join(matches)}")


def drop_in(name: str, text: str) -> None:
    DROP_INS.mkdir(parents=True, exist_ok=True)
    (DROP_INS / f"{name}.conf").write_text(text)
    sh("systemctl daemon-reload")


def remove_drop_in(name: str) -> None:
    (DROP_INS / f"{name}.conf").unlink()
    sh("systemctl daemon-reload")


def allow_everybody() -> None:
    start = f"ExecStart=\nExecStart=/opt/runnerd/bin/runnerd serve --config {CONFIG} --auth open"
    drop_in("open", f"[Service]\n{start}\n")


def processes() -> set[tuple[int, str]]:
    """Process ids in the service's control group, each with its start time, which tells it from a later namesake."""
    found: set[tuple[int, str]] = set()
    for file in group().rglob("cgroup.procs") if show("ControlGroup") else ():
        for pid in file.read_text().split():
            if start := started(int(pid)):
                found.add((int(pid), start))
    return found


def group() -> Path:
    """The service's control group: `daemon` is in it, and `boxes` with a leaf for each."""
    return Path(f"/sys/fs/cgroup{show('ControlGroup')}")


def leaves() -> set[str]:
    """The names of the boxes' leaves that are there."""
    return {path.name for path in (group() / "boxes").iterdir() if path.is_dir()}


def started(pid: int) -> str | None:
    """When a process started; None when there is none."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19]
    except (FileNotFoundError, ProcessLookupError):
        return None


def alive(some: set[tuple[int, str]]) -> set[tuple[int, str]]:
    return {(pid, start) for pid, start in some if started(pid) == start}


def box_mounts() -> list[str]:
    """Work trees that some process still sees."""
    found: list[str] = []
    for file in Path("/proc").glob("[0-9]*/mountinfo"):
        try:
            found += [f"{file}: {line}" for line in file.read_text().splitlines() if line.split()[4] == "/work"]
        except (FileNotFoundError, ProcessLookupError, OSError):
            continue
    return found


def get(path: str) -> Any:
    with urllib.request.urlopen(f"{URL}{path}", timeout=PATIENCE) as response:
        body = response.read()
    return json.loads(body) if response.headers["Content-Type"].startswith("application/json") else body.decode()


def answers() -> bool:
    try:
        return bool(get("/healthz"))
    except (urllib.error.URLError, ConnectionError, TimeoutError):
        return False


def listens() -> bool:
    """Unlike `answers` this does not take the daemon's time."""
    try:
        socket.create_connection(ADDRESS, PATIENCE).close()
    except ConnectionError:
        return False
    return True


class Client:
    """Speaks runnerd.v1. `output` is all that program 1 wrote, `events` every text frame so far."""

    def __init__(self, socket: Any) -> None:
        self._socket = socket
        self.output = b""
        self.events: list[dict[str, Any]] = []

    async def send(self, type: str, **fields: Any) -> None:
        await self._socket.send(json.dumps({"type": type, **fields}))

    async def next(self) -> None:
        frame = await asyncio.wait_for(self._socket.recv(), PATIENCE)
        if isinstance(frame, bytes):
            self.output += frame[struct.calcsize(">BIQ") :]
        else:
            self.events.append(json.loads(frame))

    async def event(self, type: str) -> dict[str, Any]:
        """The first frame of this type; waits for it."""
        while True:
            for event in self.events:
                if event["type"] == type:
                    return event
                assert event["type"] != "error", event
            await self.next()

    async def says(self, text: bytes) -> None:
        """Wait until the program has written this."""
        while text not in self.output:
            await self.next()


def talk(conversation: Callable[[Client], Any]) -> Any:
    """Run a coroutine of a connected client."""

    async def main() -> Any:
        address = f"{URL.replace('http', 'ws')}/api/v1/terminal"
        async with websockets.connect(
            address, subprotocols=[Subprotocol("runnerd.v1")], open_timeout=PATIENCE
        ) as socket:
            return await conversation(Client(socket))

    return asyncio.run(main())


def run(language: str, code: str, stdin: str = "", **fields: Any) -> tuple[dict[str, Any], str]:
    """Run a program on pipes: how it ended, and all that it wrote."""

    async def conversation(client: Client) -> tuple[dict[str, Any], str]:
        await client.send("start", language=language, code=code, stdin=stdin, mode="pipes", **fields)
        return await client.event("exit"), client.output.decode()

    return talk(conversation)


def run_samples() -> None:
    """Run every language's own sample; each says what it should."""
    found: dict[str, str] = {}
    for language in get("/api/v1/languages")["languages"]:
        if language["id"] in ("go", "rust"):  # which neither scripts/setup nor the machine's recipe installs
            continue
        assert language["available"], language
        sample = language["sample"]
        end, output = run(language["id"], sample["code"], sample["input"])
        assert (end["outcome"], end["code"]) == ("exited", 0), (end, output)
        found[language["id"]] = output.splitlines()[-1]
    assert found == SAMPLES
