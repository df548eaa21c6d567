"""The tree itself: whose it is, what a dead daemon leaves, and who is refused."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import trio
from websockets.sync.client import connect

from runnerd.errors import SetupError
from runnerd.sandbox.box import open_box
from runnerd.sandbox.cgroup import DAEMON, Ceiling, Tree, open_tree
from runnerd.sandbox.host import Host
from runnerd.sandbox.spec import Launch, Limits
from tests.e2e.serving import free_port, wait_until_ready
from tests.sandbox.running import ENV

from .conftest import leaves

pytestmark = pytest.mark.vm

PATIENCE = 60.0


def started(folder: Path, port: int) -> subprocess.Popen[bytes]:
    """Its only boxes are those of its runs."""
    runnerd = Path(sys.executable).with_name("runnerd")
    (folder / "runnerd.toml").write_text("[pool]\nceiling = 0\n")
    argv = [
        runnerd,
        "serve",
        "--listen",
        f"127.0.0.1:{port}",
        "--limits",
        "cgroup",
        "--auth",
        "open",
        "--config",
        folder / "runnerd.toml",
        "--state-dir",
        folder / "state",
    ]
    with (folder / "log").open("ab") as log:
        daemon = subprocess.Popen(argv, stdout=log, stderr=log)
    wait_until_ready(daemon, f"http://127.0.0.1:{port}", folder / "log")
    return daemon


def test_we_are_in_a_leaf_and_protected(host: Host, tree: Tree) -> None:
    assert Path("/proc/self/cgroup").read_text().strip().endswith(f"/{DAEMON}")
    assert int((tree.daemon / "cpu.weight").read_text()) == 10 * int((tree.boxes / "cpu.weight").read_text())
    assert int((tree.daemon / "memory.min").read_text()) > 0
    machine = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    assert int((tree.boxes / "memory.max").read_text()) < machine * 0.81
    assert (tree.boxes / "memory.swap.max").read_text() in ("0\n", "")


async def test_a_new_daemon_sweeps_what_a_dead_one_left(tree: Tree, tmp_path: Path) -> None:
    """Its boxes' processes die with it; their leaves are removed, also one in which something still lives."""
    port = free_port()
    daemon = started(tmp_path, port)
    with connect(f"ws://127.0.0.1:{port}/api/v1/terminal", subprotocols=["runnerd.v1"]) as client:  # type: ignore[list-item]
        client.send(json.dumps({"type": "start", "argv": ["sleep", "1000"]}))
        assert json.loads(client.recv(PATIENCE))["type"] == "started"
        [leaf] = leaves(tree)
        assert leaf.name.startswith(f"{daemon.pid}-")
        stray = subprocess.Popen(["sleep", "1000"])
        (leaf / "cgroup.procs").write_text(str(stray.pid))
        daemon.send_signal(signal.SIGKILL)
        daemon.wait()
    deadline = time.monotonic() + PATIENCE
    while (leaf / "cgroup.procs").read_text().split() != [str(stray.pid)]:
        assert time.monotonic() < deadline
        time.sleep(0.01)
    successor = started(tmp_path, port)
    try:
        assert not leaf.exists()
        assert stray.wait(PATIENCE) == -signal.SIGKILL
        assert "boxes of a daemon that is gone" in (tmp_path / "log").read_text()
    finally:
        successor.terminate()
        successor.wait()
    assert leaves(tree) == []


async def test_a_daemon_that_lives_keeps_its_boxes(host: Host, tree: Tree) -> None:
    """Several may share a tree: a second one takes none of the first one's boxes."""
    async with open_box(host, host.spec(Limits())) as box:
        process = await box.start(Launch(("cat",), ENV, "pipes"))
        second = open_tree(Ceiling())
        second.close()
        os.write(process.stdin, b"x")
        with trio.fail_after(PATIENCE):
            await trio.lowlevel.wait_readable(process.outputs[0][1])
        assert os.read(process.outputs[0][1], 10) == b"x"
        process.close()


TRY = """
import sys
from pathlib import Path
from runnerd.errors import SetupError
from runnerd.sandbox.cgroup import Ceiling, open_tree
Path(sys.argv[1], "cgroup.procs").write_text("0")
try:
    open_tree(Ceiling())
except SetupError as problem:
    print(problem.message)
"""


@pytest.mark.parametrize(
    ("controllers", "reason"), [(False, "lacks the controllers cpu, memory, pids"), (True, "is not delegated")]
)
def test_a_cgroup_that_is_not_delegated_is_refused(tree: Tree, controllers: bool, reason: str) -> None:
    """It could be written by us; but whoever made it has not given it away."""
    above = tree.daemon.parent / "above"
    folder = above / "plain" if not controllers else tree.daemon.parent / "plain"
    folder.mkdir(parents=True)
    try:
        done = subprocess.run([sys.executable, "-c", TRY, folder], capture_output=True, text=True, check=True)
        assert reason in done.stdout, done.stderr
    finally:
        while True:
            try:
                folder.rmdir()
                break
            except OSError:
                time.sleep(0.01)
        if above.exists():
            above.rmdir()


def test_a_leaf_that_cannot_be_made_says_where(host: Host, tree: Tree) -> None:
    (tree.boxes / "cgroup.max.descendants").write_text("0")
    try:
        with pytest.raises(Exception, match=r"making a box's cgroup: .*Resource temporarily unavailable") as caught:
            tree.leaf(host.spec(Limits()))
        assert not isinstance(caught.value, SetupError)
    finally:
        (tree.boxes / "cgroup.max.descendants").write_text("max")
    assert leaves(tree) == []
