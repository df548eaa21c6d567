"""Best-effort limits: a watcher that counts a box's memory, processes and CPU time from outside.

It stands in where there is no cgroup v2. It sees what it sees every few hundredths of a second, so a box may be over
its limit for that long; what cannot be counted at all (System V memory, memfds) the best-effort filter refuses.
"""

import os
from collections.abc import Callable
from dataclasses import dataclass

import trio

from runnerd.sandbox import procfs, sockdiag
from runnerd.sandbox.handles import Handles
from runnerd.sandbox.spec import Limits, Outcome

INTERVAL = 0.04
HASTE = 0.01
"""Seconds between looks, and when memory is above half its limit: a program can touch a gigabyte in half a second."""

_INODE = 1024
"""Kernel memory of one tmpfs inode and its name, which a mount's size does not count."""
_PIPE_FULL, _PIPE_SMALL, _PIPES_FULL = 64 * 1024, 8 * 1024, 1024
"""A pipe's most; what it is once a uid has so many of them (fs.pipe-user-pages-soft)."""
_FILES_FREE = 64
"""With fewer descriptors than this in all, sockets and pipes are too few to matter and are not counted."""
_SHARED_FREE = 64 * 1024 * 1024
"""Addresses beyond resident memory by so much may hide shared pages that no page table has."""
_CHUNK = 32
"""Processes looked at between two checkpoints."""
_INFRASTRUCTURE_TASKS = 4
"""Init and leaders are told apart by their parents only in a second look; so many tasks are granted without it."""


@dataclass(frozen=True, slots=True)
class Sample:
    """One look: bytes, tasks (processes and threads), CPU seconds so far."""

    memory: int
    tasks: int
    cpu: float


async def watch(handles: Handles, limits: Limits, report: Callable[[Sample], None]) -> Outcome:
    """Look again and again until a limit is broken, and return which. Every sample goes to `report`.

    Outcome.PROCESSES only well above the limit: RLIMIT_NPROC already answers fork with EAGAIN at the limit itself.
    """
    hidden = _Hidden(handles)
    while True:
        sample = await look(handles, limits, hidden)
        report(sample)
        if sample.memory > limits.memory:
            return Outcome.MEMORY
        if limits.cpu and sample.cpu > limits.cpu:
            return Outcome.CPU
        if sample.tasks > limits.processes + _INFRASTRUCTURE_TASKS + limits.processes // 4:
            return Outcome.PROCESSES
        await trio.sleep(HASTE if sample.memory * 2 > limits.memory else INTERVAL)


async def look(handles: Handles, limits: Limits, hidden: "_Hidden") -> Sample:
    """Count everything once. Pages that forks share are told apart only when the simple sum is over the limit."""
    proc = handles.proc
    held = tasks = files = beyond = 0
    cpu = 0.0
    pids = procfs.processes(proc)
    for number, pid in enumerate(pids):
        if number % _CHUNK == _CHUNK - 1:
            await trio.lowlevel.checkpoint()
        if (status := procfs.stat(proc, pid)) is None:
            continue
        tasks += status.threads
        cpu += status.cpu
        memory = procfs.memory(proc, pid)
        held += memory.held
        beyond = max(beyond, memory.virtual - memory.held)
        files += procfs.open_files(proc, pid)
    other = mounts(handles)
    if files > _FILES_FREE + 4 * len(pids):
        other += hidden.descriptors(pids)
    if beyond > _SHARED_FREE:
        other += hidden.shared(pids)
    if held + other > limits.memory:
        held = sum([procfs.proportional(proc, pid) for pid in pids])
    return Sample(held + other, tasks, cpu)


def mounts(handles: Handles) -> int:
    """Bytes that the box's tmpfs mounts hold: file contents, and kernel memory of inodes."""
    total = 0
    seen: set[int] = set()
    for fd in (handles.work, handles.tmp, handles.shm):
        device = os.fstat(fd).st_dev
        if device not in seen:
            seen.add(device)
            size = os.fstatvfs(fd)
            total += (size.f_blocks - size.f_bfree) * size.f_frsize + (size.f_files - size.f_ffree) * _INODE
    return total


class _Hidden:
    """Memory that no process's figures show: queues of sockets and pipes, shared pages taken out of page tables."""

    def __init__(self, handles: Handles) -> None:
        self._handles = handles
        self._root = os.geteuid() == 0

    def descriptors(self, pids: list[int]) -> int:
        """What sockets hold, by the kernel's own account, and pipes, at their most beyond a few."""
        pipes = {
            target
            for pid in pids
            for fd in procfs.names(self._handles.proc, f"{pid}/fd")
            if (target := procfs.link(self._handles.proc, f"{pid}/fd/{fd}")).startswith("pipe:")
        }
        counted = max(0, len(pipes) - _FILES_FREE // 2)
        full = min(counted, _PIPES_FULL)
        return sockdiag.memory(self._handles.diag) + full * _PIPE_FULL + (counted - full) * _PIPE_SMALL

    def shared(self, pids: list[int]) -> int:
        """Shared anonymous memory beyond what page tables show of it.

        Each mapping's file is looked at as root; otherwise, where the kernel does not let us, its addresses count.
        """
        proc, found = self._handles.proc, dict[str, int]()
        resident = 0
        for pid in pids:
            text = procfs.read(proc, f"{pid}/maps", 1 << 20) or b""
            if b"/dev/zero (deleted)" not in text:
                continue
            for line in text.splitlines():
                if not line.endswith(b"/dev/zero (deleted)"):
                    continue
                addresses, _, _, _, inode = line.split()[:5]
                start, end = (int(part, 16) for part in addresses.split(b"-"))
                found[inode.decode()] = max(found.get(inode.decode(), 0), self._allocated(pid, start, end))
            resident += _resident_shared(procfs.read(proc, f"{pid}/status") or b"")
        return max(0, sum(found.values()) - resident)

    def _allocated(self, pid: int, start: int, end: int) -> int:
        if not self._root:
            return end - start
        try:
            return os.stat(f"{pid}/map_files/{start:x}-{end:x}", dir_fd=self._handles.proc).st_blocks * 512
        except OSError:
            return 0


def _resident_shared(status: bytes) -> int:
    for line in status.splitlines():
        if line.startswith(b"RssShmem:"):
            return int(line.split()[1]) * 1024
    return 0
