"""A program that writes as fast as it can."""

import os
import pty
import signal
import time
from collections.abc import Mapping, Sequence

from runnerd.bench.client import HEADER
from runnerd.bench.daemon import Daemon, serving
from runnerd.bench.errors import Broken
from runnerd.bench.results import Aim, Series
from runnerd.bench.scenario import Setting
from runnerd.bench.turns import take_turns

ABOUT = "`yes` in a box to one client, against a bare loop that reads a terminal with the same program on it"
AIMS = (
    Aim("B/s, runnerd / bare loop", "runnerd", "bare loop", aim=0.7, least=True),
    Aim("long lines, B/s, runnerd / bare loop", "runnerd, long lines", "bare loop, long lines", least=True),
)
FLOODS = {"": ["yes"], ", long lines": ["yes", "x" * 200]}
"""By the end of their series' names. The terminal itself takes most of the time for lines of two bytes."""
RAMP = 0.2
"""Seconds that are not counted."""


def measure(setting: Setting) -> Sequence[Series]:
    seconds = setting.effort.seconds
    with serving(setting.subfolder("daemon"), setting.limits) as daemon:

        def boxed() -> Mapping[str, float]:
            return {f"runnerd{name}": _boxed(daemon, flood, seconds) for name, flood in FLOODS.items()}

        def bare() -> Mapping[str, float]:
            return {f"bare loop{name}": _bare(flood, seconds) for name, flood in FLOODS.items()}

        return take_turns([boxed, bare], setting.effort.some(0.15), warm_up=1, unit="B/s")


def _boxed(daemon: Daemon, flood: list[str], seconds: float) -> float:
    """Bytes per second of output, without the frames around it."""
    with daemon.connect() as connection:
        connection.tell(type="start", argv=flood)
        meter = _Meter(seconds)
        killed = False
        while True:
            for message in connection.hear():
                if isinstance(message, bytes):
                    meter.count(len(message) - HEADER)
                elif '"error"' in message:
                    raise Broken(f"no flood: {message}")
                elif '"exit"' in message:
                    return meter.rate()
            if meter.over() and not killed:
                connection.tell(type="kill")
                killed = True


def _bare(flood: list[str], seconds: float) -> float:
    pid, master = pty.fork()
    if not pid:
        os.execvp(flood[0], flood)
    try:
        meter = _Meter(seconds)
        while not meter.over():
            meter.count(len(os.read(master, 65536)))
        return meter.rate()
    finally:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        os.close(master)


class _Meter:
    """Counts bytes for some seconds, beginning a moment after the first ones."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._begin = 0.0
        self._last = 0.0
        self._bytes = 0

    def count(self, size: int) -> None:
        now = time.perf_counter()
        if not self._begin:
            self._begin = self._last = now + RAMP
        elif self._begin <= now and not self.over():
            self._bytes += size
            self._last = now

    def over(self) -> bool:
        return self._begin > 0 and self._last >= self._begin + self._seconds

    def rate(self) -> float:
        """Raises Broken when less came than was to be counted."""
        if not self.over():
            raise Broken("the flood ended early")
        return self._bytes / (self._last - self._begin)
