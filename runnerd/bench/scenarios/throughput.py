"""As many hellos as will go."""

import os
import selectors
import subprocess
import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack

from runnerd.bench import host
from runnerd.bench.client import WebSocket
from runnerd.bench.daemon import Daemon, serving
from runnerd.bench.errors import Broken
from runnerd.bench.results import Aim, Series
from runnerd.bench.scenario import Setting
from runnerd.bench.turns import Turn, take_turns

ABOUT = "Python hellos per second, closed loop of 16 clients, against `xargs -P python3 hello.py`, one for each core"
AIMS = (
    Aim("hellos / s, runnerd / python3", "runnerd", "python3", aim=0.5, least=True),
    Aim("hellos / s, bubblewrap / python3", "bubblewrap", "python3", least=True),
    Aim("hellos / s, runnerd / bubblewrap", "runnerd", "bubblewrap", least=True),
)
CLIENTS = 16
HELLO = "print('hello')\n"
RAMP = 0.3
"""Seconds of the loop that are not counted."""
GUESS = 100
"""Hellos that a host does in a second: so many are asked of it, and what it takes is timed."""


def measure(setting: Setting) -> Sequence[Series]:
    command, seconds = [host.PYTHON, str(setting.file("hello.py", HELLO))], setting.effort.seconds
    with serving(setting.subfolder("daemon"), setting.limits) as daemon:

        def loop() -> Mapping[str, float]:
            rate = closed_loop(daemon, seconds)
            daemon.settle("python")
            return {"runnerd": rate}

        turns: list[Turn] = [loop, _xargs("python3", command, seconds)]
        if boxed := setting.peer("bubblewrap", lambda: host.tried(host.bubblewrap(setting.folder, command))):
            turns.append(_xargs("bubblewrap", boxed, seconds))
        return take_turns(turns, setting.effort.some(0.1), warm_up=1, unit="1/s")


def closed_loop(daemon: Daemon, seconds: float) -> float:
    """Runs per second of clients that each start one as soon as their last one has ended."""
    with ExitStack() as stack:
        selector = stack.enter_context(selectors.DefaultSelector())
        for _ in range(CLIENTS):
            connection = stack.enter_context(daemon.connect())
            selector.register(connection, selectors.EVENT_READ)
            _begin(connection)
        began = time.perf_counter() + RAMP
        running, counted = CLIENTS, 0
        while running:
            for key, _ in selector.select():
                assert isinstance(key.fileobj, WebSocket)
                for message in key.fileobj.hear():
                    if not _ended(message):
                        continue
                    now = time.perf_counter()
                    counted += began <= now < began + seconds
                    if now < began + seconds:
                        _begin(key.fileobj)
                    else:
                        running -= 1
        return counted / seconds


def _begin(connection: WebSocket) -> None:
    connection.tell(type="start", language="python", code=HELLO)


def _ended(message: str | bytes) -> bool:
    """Whether a run has. Raises Broken for one that could not begin."""
    if isinstance(message, bytes):
        return False
    if '"error"' in message:
        raise Broken(f"a run went wrong: {message}")
    return '"exit"' in message


def _xargs(name: str, command: Sequence[str], seconds: float) -> Turn:
    """A command whose last word is what xargs gives it, as many at a time as there are cores."""
    count, cores = max(10, round(seconds * GUESS)), len(os.sched_getaffinity(0))
    *words, file = command
    pipeline = f'yes {file} | head -n {count} | xargs -n 1 -P {cores} "$@" >/dev/null'

    def turn() -> Mapping[str, float]:
        began = time.perf_counter()
        subprocess.run(["sh", "-c", pipeline, "sh", *words], check=True)
        return {name: count / (time.perf_counter() - began)}

    return turn
