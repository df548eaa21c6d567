"""What the service does for its clients, and how it starts, fails and stops under systemd."""

import json
import os
import signal
import socket
import threading
import time
import urllib.error
from pathlib import Path
from typing import Any

import pytest
import service
import websockets
import work
from conftest import Configure
from service import Client, sh

WITHIN = 5.0
"""Seconds from a daemon's death to the end of a new run: of a machine that is not emulated."""

WITHIN_HERE = 20.0
"""And of this one."""

HOSTS_SECONDS = float(os.environ["RUNNERD_HOSTS_SECONDS"])
"""What the work of work.py takes on the host that emulates this machine."""


def test_all_languages_run_their_samples_through_the_socket_unit() -> None:
    sh("systemctl start runnerd.socket")
    try:
        assert service.get("/api/v1/languages")["limits"] == "cgroup"
        service.run_samples()
    finally:
        sh("systemctl stop runnerd.socket runnerd.service")


def test_what_happens_is_told(running: None) -> None:
    """In systemd's status line and with fields in the journal."""
    end, _ = service.run("bash", "exit 3")
    assert end["code"] == 3
    entry = json.loads(service.journal("-o json", "OUTCOME=exited", "LANGUAGE=bash", "-n 1"))
    assert entry["SESSION"].startswith("n1-")
    assert (entry["CODE"], entry["PRIORITY"], entry["_SYSTEMD_UNIT"]) == ("3", "6", "runnerd.service")
    assert entry["MESSAGE"].startswith("session ended session=n1-")
    service.until(lambda: service.show("StatusText") == "0 boxes, 1 served", "the status line")


BOMB = "import os\nwhile True:\n    try: os.fork()\n    except OSError: pass"


@pytest.mark.parametrize(
    ("outcome", "language", "code", "limits"),
    [
        ("wall", "bash", "while :; do echo here; sleep 0.1; done", {"wall": 1}),
        ("idle", "bash", "sleep 1000", {"idle": 1}),
        ("output", "bash", "yes", {"output": 10_000}),
        ("cpu", "python", BOMB, {"cpu": 1, "processes": 20}),
    ],
    ids=["wall", "idle", "output", "cpu of a bomb"],
)
def test_each_limit_is_told_as_the_outcome(
    running: None, outcome: str, language: str, code: str, limits: dict[str, int]
) -> None:
    """Those that are not the kernel's (tests/vm/boxes has these), and a bomb that two limits hold."""
    end, _ = service.run(language, code, limits=limits)
    assert end["outcome"] == outcome, end
    assert ("refused more than 20 processes" in end["message"]) == ("processes" in limits)


def test_the_daemons_memory_is_protected_from_the_whole_host(running: None) -> None:
    """A group's memory.min counts as far as those of all groups around it reach."""
    folder = service.group() / "daemon"
    while folder != Path("/sys/fs/cgroup"):
        assert int((folder / "memory.min").read_text()) >= 64 << 20, folder
        folder = folder.parent


WAITS = "echo here; read line; echo got $line"


def test_a_killed_daemon_is_replaced_and_leaves_nothing(running: None, capsys: pytest.CaptureFixture[str]) -> None:
    hosts_mounts = Path("/proc/self/mountinfo").read_text()

    async def until_killed(client: Client) -> float:
        await client.send("start", language="bash", code="sleep 1000 & sleep 1000 & echo here; wait")
        await client.says(b"here")
        old.update(service.processes())
        old_mounts.update(service.box_mounts())
        old_leaves.update(service.leaves())
        pid = int(service.show("MainPID"))
        killed = time.monotonic()
        os.kill(pid, signal.SIGKILL)
        with pytest.raises(websockets.ConnectionClosed):
            while True:
                await client.next()
        return killed

    old: set[tuple[int, str]] = set()
    old_mounts: set[str] = set()
    old_leaves: set[str] = set()
    killed = service.talk(until_killed)
    assert len(old) >= 5  # the daemon, bubblewrap, init, a leader, programs
    assert old_mounts
    assert old_leaves
    service.until(service.listens, "a new daemon")
    end, output = service.run("bash", "echo again")
    took = time.monotonic() - killed
    assert (end["outcome"], output) == ("exited", "again\n")
    assert service.show("NRestarts") == "1"
    service.until(lambda: not service.alive(old), "the end of what the old daemon started")
    service.until(lambda: not old_mounts.intersection(service.box_mounts()), "the end of the boxes' mounts")
    assert not old_leaves & service.leaves()
    assert sorted(Path("/proc/self/mountinfo").read_text().splitlines()) == sorted(hosts_mounts.splitlines())
    slower = work.seconds() / HOSTS_SECONDS
    with capsys.disabled():
        print(f"a run was over {took:.1f} s after the kill, in a machine {slower:.1f} times slower", end=" ")
    assert took < min(WITHIN * slower, WITHIN_HERE)


HANG = """
import signal, time

def hang(*_):
    while True:
        time.sleep(1000)

signal.signal(signal.SIGUSR1, hang)
"""


@pytest.mark.parametrize("how", [signal.SIGUSR1, signal.SIGSTOP], ids=["the loop hangs", "the process is stopped"])
def test_a_hung_event_loop_is_ended_by_the_watchdog(how: signal.Signals) -> None:
    """And the journal says where it hung."""
    modules = Path("/run/hang")
    modules.mkdir(exist_ok=True)
    (modules / "sitecustomize.py").write_text(HANG)  # Python runs signal handlers in the main thread: the loop's
    service.drop_in("watchdog", f"[Service]\nWatchdogSec=10s\nEnvironment=PYTHONPATH={modules}\n")
    sh("systemctl start runnerd.service")
    try:
        began = time.time()
        old = service.processes()
        os.kill(int(service.show("MainPID")), how)
        service.until(lambda: service.show("NRestarts") == "1" and service.answers(), "a new daemon")
        assert not service.alive(old)
        assert "Watchdog timeout" in service.journal("_PID=1")
        assert service.run("bash", "echo again")[1] == "again\n"
        if how == signal.SIGUSR1:
            told = service.journal(f"--since=@{began:.0f}")
            assert "Fatal Python error: Aborted" in told
            assert "sitecustomize.py" in told
            assert " in hang" in told
    finally:
        sh("systemctl stop runnerd.service; systemctl reset-failed runnerd.service || true")
        service.remove_drop_in("watchdog")


def test_a_stop_lets_sessions_end(running: None) -> None:
    async def through_the_stop(client: Client) -> dict[str, Any]:
        await client.send("start", language="bash", code=WAITS)
        await client.says(b"here")
        sh("systemctl stop --no-block runnerd.service")
        assert (await client.event("draining"))["seconds"] == 30
        assert service.show("ActiveState") == "deactivating"
        await client.send("input", data="this\n")
        await client.says(b"got this")
        return await client.event("exit")

    end = service.talk(through_the_stop)
    assert (end["outcome"], end["code"]) == ("exited", 0)
    service.until(lambda: service.show("ActiveState") == "inactive", "the stop")
    assert service.show("Result") == "success"
    assert service.processes() == set()


def test_a_stop_that_drains_for_longer_than_systemd_waits(running: None) -> None:
    """It asks for more time as long as sessions go on."""
    service.drop_in("patience", "[Service]\nTimeoutStopSec=3s\n")
    try:

        async def through_the_stop(client: Client) -> dict[str, Any]:
            await client.send("start", language="bash", code="echo here; sleep 8; echo done")
            await client.says(b"here")
            sh("systemctl stop --no-block runnerd.service")
            return await client.event("exit")

        end = service.talk(through_the_stop)
        assert (end["outcome"], end["code"]) == ("exited", 0)
        service.until(lambda: service.show("ActiveState") == "inactive", "the stop")
        assert service.show("Result") == "success"
    finally:
        service.remove_drop_in("patience")


def test_a_stop_ends_sessions_at_the_configured_time(configure: Configure, running: None) -> None:
    configure("[drain]\nseconds = 2\n")
    sh("systemctl restart runnerd.service")

    async def through_the_stop(client: Client) -> dict[str, Any]:
        await client.send("start", language="bash", code="echo here; sleep 1000")
        await client.says(b"here")
        sh("systemctl stop --no-block runnerd.service")
        return await client.event("exit")

    assert service.talk(through_the_stop)["outcome"] == "killed"
    service.until(lambda: service.show("ActiveState") == "inactive", "the stop")
    assert service.show("Result") == "success"


def test_a_reload_keeps_sessions(configure: Configure, running: None) -> None:
    def boxes_max() -> str:
        return next(line for line in service.get("/metrics").splitlines() if line.startswith("runnerd_boxes_max "))

    async def through_reloads(client: Client) -> dict[str, Any]:
        await client.send("start", language="bash", code=WAITS)
        await client.says(b"here")
        configure("[boxes]\nmax = 7\n[profiles.default]\nfiles = 99\n")
        sh("systemctl reload runnerd.service")
        service.until(lambda: boxes_max() == "runnerd_boxes_max 7", "the new settings")
        service.until(lambda: service.show("ActiveState") == "active", "the end of the reload")
        configure("[boxes]\nmax = 0\n")
        sh("systemctl reload runnerd.service")
        service.until(lambda: "the configuration is wrong" in service.journal("PRIORITY=3"), "the complaint")
        await client.send("input", data="this\n")
        return await client.event("exit")

    before = service.show("MainPID")
    end = service.talk(through_reloads)
    assert (end["outcome"], end["code"]) == ("exited", 0)
    assert service.run("bash", "ulimit -n")[1] == "99\n"
    assert boxes_max() == "runnerd_boxes_max 7"
    assert service.show("MainPID") == before


def connections_during_a_restart() -> tuple[int, list[str]]:
    """How many requests, each on a connection of its own, were answered while the service restarted, and what befell
    the others."""
    over = threading.Event()
    answered: list[float] = []
    lost: list[str] = []

    def ask() -> None:
        while not over.is_set():
            try:
                service.get("/healthz")
            except (urllib.error.URLError, ConnectionError) as problem:
                lost.append(str(problem))
            else:
                answered.append(time.monotonic())

    threads = [threading.Thread(target=ask) for _ in range(3)]
    for thread in threads:
        thread.start()
    try:
        service.until(lambda: len(answered) > 10, "answers before")
        sh("systemctl restart runnerd.service")
        back = time.monotonic()
        service.until(lambda: answered[-1] > back + 1, "answers after")
    finally:
        over.set()
        for thread in threads:
            thread.join()
    return len(answered), lost


def test_with_the_socket_unit_a_restart_loses_no_connection() -> None:
    sh("systemctl start runnerd.socket")
    try:
        assert service.show("ActiveState") == "inactive"
        assert service.get("/healthz") == {"status": "ok"}  # the first connection starts the service
        assert service.show("ActiveState") == "active"
        assert service.run("bash", "echo here")[1] == "here\n"
        answered, lost = connections_during_a_restart()
        assert lost == []
        assert answered > 10
    finally:
        sh("systemctl stop runnerd.socket runnerd.service")


def test_without_the_socket_unit_a_restart_refuses_some(running: None) -> None:
    """The control: what the one above asserts is the socket unit's doing."""
    _, lost = connections_during_a_restart()
    assert any("Connection refused" in each for each in lost)


def test_a_socket_elsewhere_is_told_and_used() -> None:
    folder = Path("/run/systemd/system/runnerd.socket.d")
    folder.mkdir(parents=True)
    (folder / "elsewhere.conf").write_text(
        "[Socket]\nListenStream=\nListenStream=/run/runnerd/socket\nSocketMode=0660\n"
    )
    sh("systemctl daemon-reload && systemctl start runnerd.socket runnerd.service")
    try:
        entry = json.loads(service.journal("-o json", "PRIORITY=4", "LISTEN=127.0.0.1:8080").splitlines()[-1])
        assert entry["PORT"] == "unix:/run/runnerd/socket"
        with socket.socket(socket.AF_UNIX) as client:
            client.connect("/run/runnerd/socket")
            client.sendall(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
            assert client.makefile("rb").readline() == b"HTTP/1.1 200 \r\n"
        sh("systemctl restart runnerd.service")
        assert Path("/run/runnerd/socket").is_socket()
    finally:
        sh("systemctl stop runnerd.socket runnerd.service")
        (folder / "elsewhere.conf").unlink()
        folder.rmdir()
        sh("systemctl daemon-reload")
