"""Whether the machine is so short of memory or CPU time that what runs already suffers, by the kernel's PSI files.

The files are read, since triggers are refused to users before Linux 6.4. A box at its own limit waits as well, and
must not keep others out: so the daemon's own leaf is looked at, which has no limit, and of all boxes together only
when they are at their common ceiling.
"""

import time
from collections.abc import Callable, Sequence
from pathlib import Path

import msgspec

from runnerd.sandbox import cgroupfs
from runnerd.sandbox.cgroup import Tree

FRESH = 1.0
"""Seconds for which a look is good: the kernel brings its averages up to date every two."""


class Source(msgspec.Struct, frozen=True):
    """A pressure file and the percentage from which on it counts, while `applies`."""

    what: str
    file: Path
    least: float
    applies: Callable[[], bool]

    def complaint(self) -> str:
        """What is wrong, in words; "" when nothing is, or this kernel keeps no pressure."""
        try:
            stalled = cgroupfs.stalled(self.file.read_text())
        except (OSError, ValueError):
            return ""
        if stalled < self.least or not self.applies():
            return ""
        return f"the host is short of {self.what} ({stalled:.0f} % of the time something waits for it)"


class Pressure:
    """Asked before a run is let in: what the host is short of, or ""."""

    def __init__(self, sources: Sequence[Source]) -> None:
        self._sources = sources
        self._until = 0.0
        self._found = ""

    def __call__(self) -> str:
        now = time.monotonic()
        if now >= self._until:
            self._until = now + FRESH
            self._found = next((found for source in self._sources if (found := source.complaint())), "")
        return self._found


def sources(tree: Tree | None, memory: float, cpu: float) -> list[Source]:
    """What to look at for these thresholds, in percent; 0: not at all.

    Without a tree CPU is left out: whatever runs on the machine makes others wait, at three busy programs on two
    cores as much as at three hundred.
    """
    found: list[Source] = []
    if tree is None:
        if memory:
            found.append(Source("memory", Path("/proc/pressure/memory"), memory, _always))
        return found
    if memory:
        found.append(Source("memory", tree.daemon / "memory.pressure", memory, _always))
        found.append(Source("memory", tree.boxes / "memory.pressure", memory, lambda: at_ceiling(tree.boxes)))
    if cpu:
        found.append(Source("CPU time", tree.daemon / "cpu.pressure", cpu, _always))
    return found


def at_ceiling(boxes: Path) -> bool:
    """Whether all boxes together have reached their memory.high, and not only one its own limit."""
    try:
        high = cgroupfs.size((boxes / "memory.high").read_text())
        return high is not None and int((boxes / "memory.current").read_text()) >= high * 0.98
    except OSError:
        return False


def _always() -> bool:
    return True
