"""Ctrl+C while a program floods a slow link."""

import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack

from runnerd.bench.client import WebSocket
from runnerd.bench.daemon import Daemon, serving
from runnerd.bench.errors import Broken
from runnerd.bench.link import SERVER, Link, inside, link
from runnerd.bench.results import Aim, Series
from runnerd.bench.scenario import Setting
from runnerd.bench.turns import take_turns
from runnerd.bench.typist import INPUT

ABOUT = "Ctrl+C during `yes` on a link of 100 kB/s: from the key to the last byte of output that comes after it"
AIMS = (Aim("p95", "last byte after Ctrl+C", at=0.95, aim=0.3),)
RATE = 100_000
"""Bytes per second."""
QUEUE = 8192
"""Bytes that may wait in the link: as long as 80 ms."""
FLOODED = 1.5
"""Seconds of flood before the key: longer than it takes to fill whatever buffers there are."""


def measure(setting: Setting) -> Sequence[Series]:
    with link(RATE, QUEUE) as ends, ExitStack() as stack:
        with inside(ends.server):
            daemon = stack.enter_context(serving(setting.subfolder("daemon"), setting.limits, host=SERVER))
        return take_turns([lambda: _interrupt(daemon, ends)], setting.effort.some(0.4), warm_up=1)


def _interrupt(daemon: Daemon, ends: Link) -> Mapping[str, float]:
    with inside(ends.client):
        connection = daemon.connect()
    with connection:
        connection.tell(type="start", argv=["yes"])
        _hear(connection, FLOODED)
        pressed = last = time.perf_counter()
        connection.send(INPUT + b"\x03")
        while True:
            for message in connection.hear():
                if isinstance(message, bytes):
                    last = time.perf_counter()
                elif '"exit"' in message:
                    return {"last byte after Ctrl+C": last - pressed}


def _hear(connection: WebSocket, seconds: float) -> None:
    """Hear a flood for so long."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        for message in connection.hear():
            if isinstance(message, str) and '"error"' in message:
                raise Broken(f"no flood: {message}")
