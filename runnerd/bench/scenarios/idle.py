"""Boxes in which Python waits for somebody to type."""

import os
import pty
import signal
import statistics
import time
from collections.abc import Generator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

from runnerd.bench import host, memory, typist
from runnerd.bench.daemon import Daemon, serving
from runnerd.bench.errors import Broken
from runnerd.bench.results import Aim, Series
from runnerd.bench.scenario import Setting

ABOUT = "Proportional memory of 500 idle interactive Python boxes beyond bare python3's, and of the daemon for each"
AIMS = (
    Aim("box beyond python3", "box beyond python3", aim=1.5e6),
    Aim("daemon for each session", "daemon for each session", aim=100e3),
)
CODE = "input('Name: ')\n"
BARE = 10
"""Bare ones beside them, which share the same pages."""
ROOM = 10 * 1024**2
"""Bytes that a box is thought to take at most, to ask for no more of them than there is memory for."""
NO_POOL = "[pool]\nceiling = 0\nahead = []\n"
GONE_WITHIN = 30.0
"""Seconds in which waiting boxes are given up."""


def measure(setting: Setting) -> Sequence[Series]:
    count = min(setting.effort.boxes, _available() // 2 // ROOM)
    if count < setting.effort.boxes:
        setting.left_out.append(f"{setting.effort.boxes - count} boxes: half of the free memory holds {count}")
    with ExitStack() as stack:
        daemon = stack.enter_context(serving(setting.subfolder("daemon"), setting.limits))
        # What the first sessions load is not theirs.
        with ExitStack() as first:
            for _ in range(5):
                _open(first, daemon)
        daemon.settle("python")
        before = memory.proportional(daemon.pid)
        for _ in range(count):
            _open(stack, daemon)
        file = setting.file("wait.py", CODE)
        bare = [stack.enter_context(_bare([host.PYTHON, str(file)])) for _ in range(BARE)]
        boxes = _boxes(daemon, count)
        grown = memory.proportional(daemon.pid) - before
        python = statistics.mean(memory.proportional(pid) for pid in bare)
        taken = [sum(map(memory.proportional, family)) for family in boxes]
    return [
        Series("box beyond python3", "B", tuple(each - python for each in taken)),
        Series("box", "B", tuple(map(float, taken))),
        Series("python3", "B", (python,)),
        Series("daemon for each session", "B", (grown / count,)),
    ]


def _open(stack: ExitStack, daemon: Daemon) -> None:
    """A session that waits for input, on a connection of its own."""
    connection = stack.enter_context(daemon.connect())
    connection.tell(type="start", language="python", code=CODE)
    while not typist.waits(connection.receive()):
        pass


def _boxes(daemon: Daemon, count: int) -> list[list[int]]:
    """The processes of each box, once the daemon has given up those that wait for other runs."""
    daemon.reload(NO_POOL)
    deadline = time.monotonic() + GONE_WITHIN
    while len(boxes := memory.families(memory.parents(), daemon.pid)) != count:
        if time.monotonic() > deadline:
            raise Broken(f"the daemon has {len(boxes)} children for {count} boxes")
        time.sleep(0.1)
    return list(boxes.values())


@contextmanager
def _bare(command: list[str]) -> Generator[int]:
    """The same program on a terminal of the host's, waiting: its process id."""
    pid, master = pty.fork()
    if not pid:
        os.execv(command[0], command)
    try:
        os.read(master, 100)
        yield pid
    finally:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        os.close(master)


def _available() -> int:
    lines = Path("/proc/meminfo").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable"))
