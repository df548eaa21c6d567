"""Memory that no process's figures show: pipes' buffers, shared pages taken out of page tables, lists of mappings."""

import os
import re
import time
from collections.abc import Mapping
from typing import NamedTuple

from runnerd.sandbox import procfs
from runnerd.sandbox.procfs import Stat

_PIPE_FULL, _PIPE_SMALL, _PIPES_FULL = 64 * 1024, 8 * 1024, 1024
"""A pipe's most, and what it is once a uid has so many of them (fs.pipe-user-pages-soft)."""
PIPES_FREE = 32
"""So many pipes are not counted: any shell pipeline has some, and they are almost always empty."""

_MAPS = 16 * 1024 * 1024
_MAPPING = 256
"""Kernel memory of one mapping; the kernel allows 65,530 in a process."""
_MAPPINGS_FREE = 4096
_ZERO = re.compile(rb"^([0-9a-f]+)-([0-9a-f]+) ...s \S+ \S+ (\d+) +/dev/zero \(deleted\)$", re.M)
_UNSEEN = 32 * 1024 * 1024
"""Bytes of new addresses in the whole box after which mappings are listed again."""
_AGE = 1.0
"""Seconds after which they are listed again in any case."""
_SHARE = 4
"""Listing takes at most one part in so many of the time."""


def pipes(proc: int, pids: list[int]) -> int:
    """Bytes that all pipes of these processes hold at most. A process whose descriptors are closed to us counts as if
    all of them were pipes. About 2 us for each descriptor; reads nothing from any of them, and opens none."""
    found: set[str] = set()
    closed = 0
    for pid in pids:
        fds = procfs.names(proc, f"{pid}/fd")
        if fds is None:
            closed += procfs.descriptors(proc, pid)
            continue
        links = (procfs.link(proc, f"{pid}/fd/{fd}") for fd in fds)
        found.update(target for target in links if target.startswith("pipe:"))
    return pipe_bytes(len(found) + closed)


def pipe_bytes(count: int) -> int:
    """What so many pipes hold at most."""
    counted = max(0, count - PIPES_FREE)
    full = min(counted, _PIPES_FULL)
    return full * _PIPE_FULL + (counted - full) * _PIPE_SMALL


class _Listing(NamedTuple):
    """What one process's mappings were when its size was `virtual`; `zero`: (inode, addresses, size) of each shared
    anonymous one."""

    virtual: int
    lines: int
    zero: list[tuple[int, str, int]]


class Mappings:
    """Shared anonymous memory whose pages may have left the page tables (MADV_DONTNEED), and the mappings themselves.

    Such pages live in a nameless tmpfs file that only its mappings hold. Root sees how much of the file is allocated;
    the kernel does not let others, so for an unprivileged daemon all addresses of such a mapping count.
    """

    def __init__(self, proc: int, *, root: bool) -> None:
        self._proc, self._root = proc, root
        self._listings: dict[tuple[int, int], _Listing] = {}  # by pid and start time
        self._last = self._next = 0.0

    def due(self, stats: Mapping[int, Stat], room: int) -> bool:
        """Whether `list_all` should run before `held` is believed. `room`: bytes that the box may still take."""
        now = time.monotonic()
        if now < self._next or sum(stat.virtual - stat.resident for stat in stats.values()) <= room:
            return False
        if now > self._last + _AGE:
            return True
        grown = 0
        for pid, stat in stats.items():
            listing = self._listings.get((pid, stat.started))
            grown += abs(stat.virtual - (listing.virtual if listing else stat.resident))
        return grown > _UNSEEN

    def list_all(self, stats: Mapping[int, Stat]) -> None:
        """List the mappings of every process whose size has changed, and of all when that was long ago.

        Some 0.5 ms for a JVM, tens of milliseconds for a process with as many as the kernel allows: a thread's work.
        """
        start = time.monotonic()
        old = {} if start > self._last + _AGE else self._listings
        self._listings = {}
        for pid, stat in stats.items():
            key = pid, stat.started
            listing = old.get(key)
            if listing is None or listing.virtual != stat.virtual:
                text = procfs.read_whole(self._proc, f"{pid}/maps", _MAPS)
                listing = _Listing(stat.virtual, text.count(b"\n"), zero_mappings(text))
            self._listings[key] = listing
        self._last = time.monotonic()
        self._next = self._last + (self._last - start) * _SHARE

    def zero(self) -> int:
        """Bytes of shared anonymous memory, each file once whoever maps it."""
        files: dict[int, int] = {}
        for (pid, _), listing in self._listings.items():
            for inode, addresses, size in listing.zero:
                files[inode] = max(files.get(inode, 0), self._allocated(pid, addresses, size))
        return sum(files.values())

    def kernel(self) -> int:
        """Bytes of kernel memory that mappings take beyond a few thousand in each process."""
        return sum(max(0, listing.lines - _MAPPINGS_FREE) * _MAPPING for listing in self._listings.values())

    def _allocated(self, pid: int, addresses: str, size: int) -> int:
        if not self._root:
            return size
        try:
            return os.stat(f"{pid}/map_files/{addresses}", dir_fd=self._proc).st_blocks * 512
        except PermissionError:  # root, but in a container that keeps CAP_CHECKPOINT_RESTORE from it
            return size
        except OSError:  # moved since
            self._last = 0.0
            return 0


def zero_mappings(maps: bytes) -> list[tuple[int, str, int]]:
    """(inode, addresses as map_files names them, size in bytes) of the shared anonymous mappings in /proc/PID/maps."""
    found: list[tuple[int, str, int]] = []
    for match in _ZERO.finditer(maps):
        start, end = int(match[1], 16), int(match[2], 16)
        found.append((int(match[3]), f"{start:x}-{end:x}", end - start))
    return found
