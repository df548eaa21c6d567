"""One box's cgroup: limits held by the kernel, and what it says of them afterwards."""

import errno
import logging
import os
import select
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress

import trio

from runnerd.sandbox import cgroupfs
from runnerd.sandbox.handles import Handles
from runnerd.sandbox.keeper import End, Used
from runnerd.sandbox.spec import BoxSpec, Limits, MiB, Outcome

log = logging.getLogger("runnerd.sandbox")

OWN_TASKS = 3
"""bubblewrap's monitor, init and the leader run in the leaf too."""
OWN_MEMORY = 2 * MiB
"""And so much do they take at most, with the kernel's own for the box's namespaces and mounts (1 MB was seen)."""

START_CPU = 0.5
"""CPU seconds that a box has at full speed before cpu.max holds it: enough to start an interpreter."""

_TICK = 0.05
"""Seconds between two looks at cpu.stat, at the least."""
_PATIENCE = 10.0
"""Seconds in which a leaf whose tasks were killed must become empty."""
_RETRY = 0.001
_NEAR = 0.9


def settings(spec: BoxSpec, disks: tuple[str, ...]) -> dict[str, list[str]]:
    """What is written into a new leaf, by file. cpu.max is not among it: a box starts at full speed.

    No memory.high: with nothing to swap to it reclaims nothing, and a program at its limit would crawl until its wall
    time is over instead of hearing that it has used up its memory.
    """
    limits = spec.limits
    return {
        "memory.max": [str(limits.memory + OWN_MEMORY)],
        "memory.swap.max": ["0"],
        "memory.oom.group": ["1"],
        "pids.max": [str(limits.processes + OWN_TASKS)],
        "cpu.weight": [str(cgroupfs.cpu_weight(limits.cpus))],
        "io.max": [cgroupfs.io_max(disk, limits.io) for disk in disks] if limits.io else [],
    }


class Leaf:
    """A keeper whose limits the kernel holds. `folder` is a descriptor that it closes; `parent` stays the caller's.

    `cores` are the machine's; `peak`: this kernel has memory.peak (Linux 5.19), otherwise looks must do.
    """

    def __init__(self, parent: int, name: str, folder: int, spec: BoxSpec, *, cores: int, peak: bool) -> None:
        self._parent, self._name, self._folder = parent, name, folder
        self._limits: Limits = spec.limits
        self._peak = peak
        self._ends_at_processes = spec.processes_end
        self._cores = cores
        self._stat = os.open("cpu.stat", os.O_RDONLY | os.O_CLOEXEC, dir_fd=folder)
        self._last = Used()

    @property
    def cgroup(self) -> int:
        return self._folder

    async def watch(self, up: Callable[[], Awaitable[Handles | None]]) -> Outcome:
        """CPU time, and for some boxes the first refused fork. Memory the kernel ends by itself (see `end`)."""
        outcome = Outcome.CPU

        async def wait_for_processes() -> None:
            nonlocal outcome
            await self._until_refused()
            outcome = Outcome.PROCESSES
            nursery.cancel_scope.cancel()

        async with trio.open_nursery() as nursery:
            if self._ends_at_processes:
                nursery.start_soon(wait_for_processes)
            await self._until_spent()
            nursery.cancel_scope.cancel()
        return outcome

    def end(self) -> End:
        events = self._keyed("memory.events")
        if events.get("oom"):
            return End(Outcome.MEMORY)
        if events.get("oom_kill"):
            all_boxes = cgroupfs.keyed(read(self._parent, "memory.events.local")).get("oom")
            whose = "for all boxes together" if all_boxes else "of the host"
            return End(reason=f"the memory {whose} ran out, and this box was the largest")
        if self._limits.cpu and self._cpu() > self._limits.cpu:
            return End(Outcome.CPU)
        return End()

    def used(self) -> Used:
        """Of a leaf that is gone, what was last seen."""
        with suppress(ValueError):  # gone
            memory = int(read(self._folder, "memory.peak" if self._peak else "memory.current"))
            self._last = Used(max(self._last.peak, memory), int(read(self._folder, "pids.current")), self._cpu())
        return self._last

    def short_of_processes(self) -> bool:
        return self._keyed("pids.events").get("max", 0) > 0 and not self._ceiling_met()

    def _ceiling_met(self) -> bool:
        """Whether all boxes together have about as many processes as they may: before Linux 6.11 a fork that is refused
        for that counts as refused by the leaf, and some may have ended since."""
        most = cgroupfs.size(read(self._parent, "pids.max") or "max")
        return most is not None and int(read(self._parent, "pids.current") or 0) >= most * _NEAR

    def kill(self) -> None:
        with suppress(OSError):
            write(self._folder, "cgroup.kill", "1")

    async def remove(self) -> None:
        """Kill all, and remove the leaf once it is empty. One that does not become so is logged, and left to the next
        daemon's sweep."""
        self.used()
        self.kill()
        problem: OSError | None = None
        with trio.move_on_after(_PATIENCE):
            pause = _RETRY
            while (problem := self._rmdir()) is not None:
                await trio.sleep(pause)
                pause = min(pause * 2, _TICK)
        if problem is not None:
            log.error("the leaf of a box cannot be removed", extra={"leaf": self._name, "reason": problem.strerror})
        os.close(self._stat)
        os.close(self._folder)
        self._stat = self._folder = -1

    def _rmdir(self) -> OSError | None:
        try:
            os.rmdir(self._name, dir_fd=self._parent)
        except FileNotFoundError:
            return None
        except OSError as problem:
            return problem
        return None

    async def _until_spent(self) -> None:
        """Set cpu.max when the start's allowance is used, and return when the CPU time is. Sleeps until it could be."""
        quota = cgroupfs.cpu_max(self._limits.cpus, self._cores)
        most = min(self._cores, self._limits.processes)
        while True:
            cpu = self._cpu() if self._peak else self.used().cpu
            if quota is not None and cpu >= START_CPU:
                self._throttle(quota)
                quota, most = None, self._limits.cpus
            if self._limits.cpu and cpu > self._limits.cpu:
                return
            marks = [START_CPU] if quota is not None else []
            marks += [self._limits.cpu] if self._limits.cpu else []
            if not marks:
                await trio.sleep_forever()
            await trio.sleep(max(_TICK, (min(marks) - cpu) / most))

    def _throttle(self, quota: str) -> None:
        try:
            write(self._folder, "cpu.max", quota)
        except OSError as problem:
            log.error("a box is not held to its cores", extra={"leaf": self._name, "reason": problem.strerror})

    async def _until_refused(self) -> None:
        """Wait until pids.events counts a fork that this leaf refused. By an epoll: trio waits for no POLLPRI."""
        events = os.open("pids.events", os.O_RDONLY | os.O_CLOEXEC, dir_fd=self._folder)
        poll = select.epoll()
        try:
            poll.register(events, select.EPOLLPRI)
            refused = 0
            while True:
                before, refused = refused, cgroupfs.keyed(os.pread(events, 4096, 0).decode()).get("max", 0)
                if refused > before and not self._ceiling_met():
                    return
                await trio.lowlevel.wait_readable(poll.fileno())
        finally:
            poll.close()
            os.close(events)

    def _cpu(self) -> float:
        """CPU seconds so far."""
        with suppress(OSError):
            return cgroupfs.keyed(os.pread(self._stat, 4096, 0).decode())["usage_usec"] / 1e6
        return self._last.cpu

    def _keyed(self, name: str) -> dict[str, int]:
        return cgroupfs.keyed(read(self._folder, name))


def apply(folder: int, wanted: Mapping[str, list[str]], offered: set[str]) -> None:
    """Write settings into a cgroup, but for files that this kernel does not offer. Raises OSError."""
    for name, values in wanted.items():
        if name in offered:
            for value in values:
                try:
                    write(folder, name, value)
                except OSError as problem:
                    if (name, problem.errno) != ("io.max", errno.ENODEV):  # a disk that has gone since they were listed
                        raise


def read(folder: int, name: str) -> str:
    """A whole file of a cgroup; "" when it is not there (any more)."""
    try:
        fd = os.open(name, os.O_RDONLY | os.O_CLOEXEC, dir_fd=folder)
    except OSError:
        return ""
    try:
        return os.read(fd, 65536).decode()
    except OSError as problem:
        if problem.errno == errno.ENODEV:
            return ""
        raise
    finally:
        os.close(fd)


def write(folder: int, name: str, text: str) -> None:
    """Write one value. Raises OSError that names the file."""
    fd = os.open(name, os.O_WRONLY | os.O_CLOEXEC, dir_fd=folder)
    try:
        os.write(fd, text.encode())
    except OSError as problem:
        raise OSError(problem.errno, problem.strerror, name) from None
    finally:
        os.close(fd)
