"""Attacks on the daemon itself, through its own port."""

import json
import os
import resource
import signal
import socket
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Generator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from websockets.sync.client import ClientConnection, connect

from tests.e2e.serving import CONFIG, Daemon, serve
from tests.soak.test_leaks import holdings

pytestmark = pytest.mark.attack

MiB = 1024 * 1024
PATIENCE = 30


@pytest.fixture(scope="module")
def daemon(tmp_path_factory: pytest.TempPathFactory) -> Generator[Daemon]:
    """One for all: a start takes seconds in an emulated machine, and it should bear one attack after the other."""
    with serve(tmp_path_factory.mktemp("daemon")) as daemon:
        yield daemon


def dial(daemon: Daemon, **more: Any) -> ClientConnection:
    return connect(f"ws://127.0.0.1:{daemon.port}/api/v1/terminal", subprotocols=["runnerd.v1"], **more)  # type: ignore[list-item]


def start(client: ClientConnection, *argv: str, **more: Any) -> None:
    client.send(json.dumps({"type": "start", "argv": argv, **more}))
    assert json.loads(client.recv(PATIENCE))["type"] == "started"


def ask(client: ClientConnection) -> float:
    """Run a program to its end, and how long that took."""
    began = time.monotonic()
    client.send(json.dumps({"type": "start", "argv": ["echo", "served"], "stream": 9}))
    output = b""
    while True:
        message = client.recv(PATIENCE)
        if isinstance(message, bytes):
            output += message[13:]
        elif json.loads(message)["type"] == "exit":
            assert output == b"served\r\n"
            return time.monotonic() - began


def resident(pid: int) -> int:
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * 4096


def processes(marker: str) -> list[int]:
    """Host pids of processes whose command line begins with `marker`."""
    found: list[int] = []
    for pid in filter(str.isdecimal, os.listdir("/proc")):
        try:
            if Path(f"/proc/{pid}/cmdline").read_bytes().startswith(marker.encode()):
                found.append(int(pid))
        except OSError:
            continue
    return found


def descendants(pid: int) -> set[int]:
    """Host pids of all that a process has started, directly or not, and not yet lost to another parent."""
    try:
        text = " ".join(
            Path(f"/proc/{pid}/task/{task}/children").read_text() for task in os.listdir(f"/proc/{pid}/task")
        )
    except OSError:
        return set()
    children = set(map(int, text.split()))
    return children.union(*map(descendants, children))


def until(condition: Any) -> None:
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_killing_the_daemon_leaves_no_process(tmp_path: Path) -> None:
    marker = f"runnerd-marker-{os.getpid()}"
    with pytest.raises(ProcessLookupError), serve(tmp_path) as daemon:
        with dial(daemon) as client:
            start(
                client, "bash", "-c", f"trap '' HUP TERM; (setsid bash -c 'exec -a {marker} sleep 1000' &); sleep 1000"
            )
            until(lambda: processes(marker))
            family = descendants(daemon.pid)
            assert len(family) >= 4  # what built the box, init, a leader, programs
            os.kill(daemon.pid, signal.SIGKILL)
            until(lambda: not processes(marker))
            until(lambda: not any(Path(f"/proc/{pid}").exists() for pid in family))
        os.waitpid(daemon.pid, 0)
        raise ProcessLookupError


def test_a_flood_nobody_reads_is_held(daemon: Daemon) -> None:
    """The terminal's own flow control stops the program; the daemon's memory stays, and others are served."""
    with dial(daemon, max_queue=1) as flooded, dial(daemon) as other:
        ask(other)
        before = resident(daemon.pid)
        start(flooded, "yes", "x" * 1000)
        times = [ask(other) for _ in range(10)]
        assert resident(daemon.pid) - before < 32 * MiB
        assert min(times) < 5


def test_typing_at_a_program_that_does_not_read(daemon: Daemon) -> None:
    """What it does not read waits, up to a bound; more is an error of that stream alone."""
    # Of what the terminal echoes the client keeps any amount: else it would stop reading while it writes all this.
    with dial(daemon, max_queue=None) as client, dial(daemon) as other:
        start(client, "sleep", "1000")
        before = resident(daemon.pid)
        for _ in range(10):
            client.send(b"\0\0\0\0\1" + b"x" * MiB)
        error = None
        while error is None:
            message = client.recv(PATIENCE)
            if isinstance(message, str) and json.loads(message)["type"] == "error":
                error = json.loads(message)
        assert error["code"] == "input_overflow"
        assert resident(daemon.pid) - before < 64 * MiB
        ask(other)
        client.send(json.dumps({"type": "kill"}))
        while True:
            message = client.recv(PATIENCE)
            if isinstance(message, str) and json.loads(message)["type"] == "exit":
                assert json.loads(message)["outcome"] == "killed"
                break


def test_a_child_that_keeps_the_terminal_does_not_hold_the_end(daemon: Daemon) -> None:
    with dial(daemon) as client:
        client.send(json.dumps({"type": "start", "argv": ["bash", "-c", "(trap '' HUP; sleep 1000) & echo done"]}))
        output, ended = b"", None
        while ended is None:
            message = client.recv(PATIENCE)
            if isinstance(message, bytes):
                output += message[13:]
            elif json.loads(message)["type"] == "exit":
                ended = json.loads(message)
        assert output == b"done\r\n"
        assert ended["outcome"] == "exited"


FLOODS = {
    "stdout": {"argv": ["yes"]},
    "stderr": {"argv": ["sh", "-c", "exec yes >&2"], "mode": "split"},
    "stderr, on a pipe": {"argv": ["sh", "-c", "exec yes >&2"], "mode": "pipes"},
    "both": {"argv": ["sh", "-c", "yes >&2 & exec yes"], "mode": "split"},
}


@pytest.mark.parametrize("limit", [100_000, 300_000])
@pytest.mark.parametrize("name", FLOODS)
def test_output_has_a_limit(daemon: Daemon, name: str, limit: int) -> None:
    """Of both streams together; and it is that limit which ends it, as another ends it elsewhere."""
    with dial(daemon) as client:
        client.send(json.dumps({"type": "start", **FLOODS[name], "limits": {"output": limit}}))
        size = 0
        while True:
            message = client.recv(PATIENCE)
            if isinstance(message, bytes):
                size += len(message) - 13
            elif json.loads(message)["type"] == "exit":
                assert json.loads(message)["outcome"] == "output"
                break
        assert size == limit


def test_keystrokes_beside_a_flood(daemon: Daemon) -> None:
    """One client reads all that `yes` writes; what another types comes back to it meanwhile, every time."""
    flowed, over = 0, threading.Event()

    def read(client: ClientConnection) -> None:
        nonlocal flowed
        while not over.is_set():
            flowed += len(client.recv(PATIENCE))

    with dial(daemon) as flooded, dial(daemon) as typist, ThreadPoolExecutor(1) as pool:
        start(flooded, "yes", "x" * 1000)
        start(typist, "cat")
        reader = pool.submit(read, flooded)
        try:
            for n in range(20):
                before, word = flowed, f"word{n}\r\n".encode()
                until(lambda before=before: flowed > before + 100_000)  # it goes on
                typist.send(b"\0\0\0\0\1" + f"word{n}\n".encode())
                output = b""
                while output.count(word) < 2:  # the terminal's echo, and cat's
                    message = typist.recv(PATIENCE)
                    if isinstance(message, bytes):
                        output += message[13:]
                    else:
                        assert json.loads(message)["type"] == "state", message
        finally:
            over.set()
        reader.result(PATIENCE)


def test_clients_that_vanish_leave_nothing(daemon: Daemon) -> None:
    marker = f"runnerd-vanish-{os.getpid()}"
    for _ in range(5):
        with dial(daemon) as client:
            start(client, "bash", "-c", f"exec -a {marker} sleep 1000")
            client.socket.shutdown(socket.SHUT_RDWR)  # without a close frame
    until(lambda: not processes(marker))


def told(client: ClientConnection, *kinds: str) -> dict[str, Any]:
    """The next message of one of these kinds."""
    while True:
        message = client.recv(PATIENCE)
        if isinstance(message, str) and (event := json.loads(message))["type"] in kinds:
            return event


def send_nonsense(daemon: Daemon) -> None:
    """Each is answered, and the connection is good for a program afterwards."""
    with dial(daemon) as client:
        for text in ("{", "[]", "7", '{"type": 7}', '{"type": "fly"}', '{"type": "start", "argv": 7}'):
            client.send(text)
            assert told(client, "error", "started")["code"]
        client.send(json.dumps({"type": "start", "language": "klingon", "code": ""}))
        assert told(client, "error", "started")["code"] == "unknown_language"
        ask(client)


MUCH = 10_000_000


def send_much_code(daemon: Daemon) -> None:
    """Which is run, and in a request that is refused for its last character."""
    code = json.dumps({"type": "start", "language": "python", "code": "#" * MUCH})
    with dial(daemon) as client:
        client.send(code)
        assert told(client, "exit")["outcome"] == "exited"
    for body, status in ((code, 200), (code[:-1], 400)):
        assert execute(daemon, body) == status


def execute(daemon: Daemon, body: str) -> int:
    """The status of the answer to a run by one request."""
    request = urllib.request.Request(f"{daemon.url}/api/v1/execute", body.encode())
    try:
        with urllib.request.urlopen(request, timeout=PATIENCE) as answer:
            return answer.status
    except urllib.error.HTTPError as refused:
        with refused:
            return refused.code


def shake_half_a_hand(daemon: Daemon) -> None:
    head = b"GET /api/v1/terminal HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
    for part in (head[:10], head):
        with socket.create_connection(("127.0.0.1", daemon.port)) as client:
            client.sendall(part)
    with socket.create_connection(("127.0.0.1", daemon.port), PATIENCE) as client:
        client.sendall(head + b"\r\n")
        assert client.recv(4096).startswith(b"HTTP/1.1 4")


def vanish_at_each_state(daemon: Daemon) -> None:
    """Before a program, while one is made, runs, waits, and after its end."""
    for argv, state in (
        ((), ""),
        (("cat",), ""),
        (("sleep", "1000"), "started"),
        (("cat",), "waiting"),
        (("true",), "exit"),
    ):
        with dial(daemon) as client:
            if argv:
                client.send(json.dumps({"type": "start", "argv": argv}))
            while state and state not in (event := told(client, "started", "state", "exit"))["type"]:
                if event.get("state") == state:
                    break
            client.socket.shutdown(socket.SHUT_RDWR)


def say_nothing(daemon: Daemon) -> None:
    """On as many connections as this process may have besides its own files, at most a thousand."""
    count = min(1000, resource.getrlimit(resource.RLIMIT_NOFILE)[0] // 2)
    with ExitStack() as silent, dial(daemon) as other:
        for _ in range(count):
            silent.enter_context(socket.create_connection(("127.0.0.1", daemon.port), PATIENCE))
        ask(other)


BAD_INPUT = (send_nonsense, send_much_code, shake_half_a_hand, vanish_at_each_state, say_nothing)


def resting(daemon: Daemon) -> dict[str, int]:
    """What the daemon holds when that has stayed the same for half a second: boxes are taken down after their end was
    told, and some are kept ready."""
    last, since = holdings(daemon.pid), time.monotonic()
    deadline = since + PATIENCE
    while time.monotonic() < min(since + 0.5, deadline):
        time.sleep(0.05)
        if (now := holdings(daemon.pid)) != last:
            last, since = now, time.monotonic()
    return last


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Generator[Daemon]:
    """A daemon that keeps no boxes ready: their number follows what was asked for, and would hide a leak."""
    with serve(tmp_path_factory.mktemp("plain"), settings=f"{CONFIG}\n[pool]\nceiling = 0\n") as daemon:
        yield daemon


@pytest.mark.parametrize("offend", BAD_INPUT)
def test_bad_input_disturbs_nobody_and_leaves_nothing(plain: Daemon, offend: Callable[[Daemon], None]) -> None:
    """The session of another goes on; what the daemon holds is what it held after it had met such a thing before. After
    much code the allocator may keep what one submission took, a few copies of it, and no more than that ever."""

    def beside_another(times: int) -> None:
        with dial(plain) as other:
            start(other, "cat")
            for n in range(times):
                offend(plain)
                other.send(b"\0\0\0\0\1" + f"word{n}\n".encode())
                output = b""
                while output.count(f"word{n}\r\n".encode()) < 2:  # the terminal's echo, and cat's
                    message = other.recv(PATIENCE)
                    output += message[13:] if isinstance(message, bytes) else b""

    first = resting(plain)
    beside_another(5)
    before = resting(plain)
    beside_another(5)
    after = resting(plain)
    most = first["memory"] + 4 * MUCH if offend is send_much_code else before["memory"] + 8 * MiB
    assert after["memory"] <= most, (first, before, after)
    for what in ("descriptors", "children", "mounts"):
        assert after[what] <= before[what], (what, before, after)
