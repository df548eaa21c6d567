"""How much memory, processes and CPU time a box has, counted from outside, cheapest figures first."""

import os
import time
from collections.abc import Mapping

import msgspec
import trio

from runnerd.sandbox import hidden, procfs, sockdiag
from runnerd.sandbox.handles import Handles
from runnerd.sandbox.procfs import Stat
from runnerd.sandbox.spec import Limits

_INODE = 1280
"""Kernel memory of one tmpfs inode and a long name, which a mount's size does not count: 980 bytes and up to 256."""
_DESCRIPTORS_FREE = 64
"""With fewer than this in the whole box, beside a few for each process, pipes are not counted."""
_DESCRIPTORS_EACH = 8
_TABLES_SHARE = 512
"""A page table's page maps 512: page tables hold at most so small a part of all addresses, and a few pages."""
_TABLES_FEW = 64 * 1024
_CONFIRM_SHARE = 4
"""Dividing shared pages takes at most one part in so many of the time."""
_STALL = 0.001
"""Seconds of counting after which others get their turn."""


class Sample(msgspec.Struct, frozen=True):
    """One look: bytes, tasks (processes and threads, with init and the leaders), CPU seconds so far."""

    memory: int
    tasks: int
    cpu: float


class _Confirmed(msgspec.Struct, frozen=True):
    """An exact figure, and what tells how far it can be from the truth by now."""

    exact: int
    simple: int
    faults: dict[tuple[int, int], int]
    until: float

    def bound(self, simple: int, stats: Mapping[int, Stat]) -> int:
        """The most that the box holds now: each page it got or unshared since was a fault or grew the simple sum."""
        faults = sum(max(0, stat.faults - self.faults.get((pid, stat.started), 0)) for pid, stat in stats.items())
        return self.exact + max(0, simple - self.simple) + faults * procfs.PAGE


class CpuClock:
    """CPU seconds of a box, from one look to the next.

    A process that is waited for leaves its time to who waited. One that nobody waits for (its parent ignores SIGCHLD)
    would take its time with it, so what vanished is kept unless somebody claims as much at about the same time: a look
    is no single moment, hence one look earlier or later.
    """

    def __init__(self) -> None:
        self.seconds = 0.0
        self.lost = 0.0
        self._vanished = 0.0
        self._claims = (0.0, 0.0)
        self._last: dict[tuple[int, int], Stat] = {}

    def add(self, stats: Mapping[int, Stat]) -> float:
        """Take a look into account; the seconds so far, which never fall."""
        now = {(pid, stat.started): stat for pid, stat in stats.items()}
        both = now.keys() & self._last.keys()
        claimed = sum([now[key].reaped - self._last[key].reaped for key in both])
        self.lost += max(0.0, self._vanished - sum(self._claims) - claimed)
        self._claims = (self._claims[1], claimed)
        self._vanished = sum([self._last[key].cpu + self._last[key].reaped for key in self._last.keys() - both])
        self._last = now
        total = self.lost + sum([stat.cpu + stat.reaped for stat in stats.values()])
        self.seconds = max(self.seconds, total)
        return self.seconds


class Meter:
    """Looks into one box again and again.

    Three depths. (1) /proc/PID/stat alone: resident pages of all kinds, and the most that page tables can be. Nearly
    all looks end here. (2) When that is over the limit, /proc/PID/status, without files' pages. (3) When that is over
    too, smaps_rollup, where pages that forks share count once; it walks page tables, so a figure is used for as long as
    page faults since could not have made it wrong.
    """

    def __init__(self, handles: Handles, limits: Limits) -> None:
        self._handles, self._limit = handles, limits.memory
        self._mounts = distinct([handles.work, handles.tmp, handles.shm])
        self._mappings = hidden.Mappings(handles.proc, root=os.geteuid() == 0)
        self._queue = sockdiag.largest_queue()
        self._swap = _has_swap()
        self._confirmed: _Confirmed | None = None
        self._clock = CpuClock()
        self._turn = 0.0
        self.processes = 0

    async def look(self) -> Sample:
        """Count everything once. Figures only of what is still there: zero memory once the box is gone. `processes` is
        how many there were."""
        proc = self._handles.proc
        self._turn = time.perf_counter()
        stats: dict[int, Stat] = {}
        descriptors = 0
        for pid in procfs.processes(proc):
            if (stat := procfs.stat(proc, pid)) is not None:
                stats[pid] = stat
                descriptors += procfs.descriptors(proc, pid)
            await self._pace()
        self.processes = len(stats)
        if not stats:
            return Sample(0, 0, self._clock.seconds)
        cpu = self._clock.add(stats)
        memory = await self._memory(stats, descriptors)
        return Sample(memory, sum([stat.threads for stat in stats.values()]), cpu)

    async def _memory(self, stats: Mapping[int, Stat], descriptors: int) -> int:
        handles = self._handles
        files, inodes = tmpfs(self._mounts)
        kernel = inodes + await sockdiag.memory(handles.proc, handles.diag, self._queue)
        if descriptors > _DESCRIPTORS_FREE + _DESCRIPTORS_EACH * len(stats):
            kernel += await trio.to_thread.run_sync(hidden.pipes, handles.proc, list(stats))
        resident = sum([stat.resident for stat in stats.values()])
        if self._mappings.due(stats, self._limit - resident - files - kernel):
            await trio.to_thread.run_sync(self._mappings.list_all, stats)
        kernel += self._mappings.kernel()
        other = files + kernel + self._mappings.zero()
        tables = sum([stat.virtual // _TABLES_SHARE + _TABLES_FEW for stat in stats.values()])
        if resident + tables + other <= self._limit and not self._swap:
            return resident + other
        simple = other
        for pid in stats:
            simple += sum(procfs.memory(handles.proc, pid))
            await self._pace()
        if simple <= self._limit:
            return simple
        return await self._confirm(stats, simple, files, kernel)

    async def _confirm(self, stats: Mapping[int, Stat], simple: int, files: int, kernel: int) -> int:
        """`simple` counts pages twice that forks share, and tmpfs pages that are mapped."""
        if (last := self._confirmed) is not None:
            bound = last.bound(simple, stats)
            if bound <= self._limit or time.monotonic() < last.until:
                return min(bound, self._limit)
        start = time.monotonic()
        exact = await trio.to_thread.run_sync(self._exact, stats, files, kernel)
        now = time.monotonic()
        faults = {(pid, stat.started): stat.faults for pid, stat in stats.items()}
        self._confirmed = _Confirmed(exact, simple, faults, now + (now - start) * _CONFIRM_SHARE)
        return exact

    def _exact(self, stats: Mapping[int, Stat], files: int, kernel: int) -> int:
        self._mappings.list_all(stats)
        private = shared = 0
        for pid in stats:
            memory = procfs.proportional(self._handles.proc, pid)
            private += memory.private
            shared += memory.shared
        # Mapped tmpfs pages are in `files` already, and mapped shared anonymous ones in `zero`.
        return private + max(shared, files + self._mappings.zero()) + kernel

    async def _pace(self) -> None:
        """Let others have their turn when this one has been long."""
        if time.perf_counter() - self._turn > _STALL:
            await trio.lowlevel.checkpoint()
            self._turn = time.perf_counter()


def distinct(folders: list[int]) -> list[int]:
    """One descriptor of each mount: the work tree may lie in /tmp's."""
    mounts: dict[int, int] = {}
    for fd in folders:
        mounts.setdefault(os.fstat(fd).st_dev, fd)
    return list(mounts.values())


def tmpfs(mounts: list[int]) -> tuple[int, int]:
    """Bytes of the files in some tmpfs mounts, and of their inodes."""
    files = inodes = 0
    for fd in mounts:
        size = os.fstatvfs(fd)
        files += (size.f_blocks - size.f_bfree) * size.f_frsize
        inodes += (size.f_files - size.f_ffree) * _INODE
    return files, inodes


def _has_swap() -> bool:
    try:
        with open("/proc/swaps") as file:
            return len(file.readlines()) > 1
    except OSError:
        return False
