"""A box's processes, read from its own /proc through a descriptor. Pids are the box's, and init is 1.

Every function takes a process that has vanished for what it is: gone (None, or zero).
"""

import os
from dataclasses import dataclass

TICK = 1 / os.sysconf("SC_CLK_TCK")
_READ = 4096


@dataclass(frozen=True, slots=True)
class Stat:
    """What /proc/PID/stat says (man 5 proc). `cpu` is seconds, user and system, with reaped children's."""

    state: str
    ppid: int
    pgrp: int
    session: int
    tty: int
    tpgid: int
    threads: int
    cpu: float


@dataclass(frozen=True, slots=True)
class Memory:
    """Bytes: `held` resident anonymous and shared memory and page tables, `virtual` all addresses."""

    held: int
    virtual: int


def read(proc: int, path: str, size: int = _READ) -> bytes | None:
    """The start of a file below the box's /proc, or None when it is gone or closed to us."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW, dir_fd=proc)
    except OSError:
        return None
    try:
        return os.read(fd, size)
    except OSError:
        return None
    finally:
        os.close(fd)


def names(proc: int, path: str) -> list[str]:
    """The names in a folder below the box's /proc; none when it is gone or closed to us."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=proc)
    except OSError:
        return []
    try:
        return os.listdir(fd)
    except OSError:
        return []
    finally:
        os.close(fd)


def processes(proc: int) -> list[int]:
    """All pids of the box, init among them."""
    return [int(name) for name in names(proc, ".") if name.isdecimal()]


def stat(proc: int, pid: int) -> Stat | None:
    data = read(proc, f"{pid}/stat")
    return parse_stat(data) if data else None


def parse_stat(data: bytes) -> Stat:
    """The command's name may hold anything, so fields are counted from the last parenthesis."""
    fields = data[data.rindex(b")") + 2 :].split()
    ticks = sum(map(int, fields[11:15]))
    numbers = [int(fields[index]) for index in (1, 2, 3, 4, 5, 17)]
    return Stat(fields[0].decode(), *numbers, cpu=ticks * TICK)


def memory(proc: int, pid: int) -> Memory:
    return parse_memory(read(proc, f"{pid}/status") or b"")


def parse_memory(data: bytes) -> Memory:
    """From /proc/PID/status, whose figures are kB."""
    found = dict.fromkeys((b"RssAnon", b"RssShmem", b"VmPTE", b"VmSize"), 0)
    for line in data.splitlines():
        name, _, value = line.partition(b":")
        if name in found:
            found[name] = int(value.split()[0]) * 1024
    virtual = found.pop(b"VmSize")
    return Memory(sum(found.values()), virtual)


def proportional(proc: int, pid: int) -> int:
    """Bytes of anonymous and shared memory, pages that several processes share divided among them."""
    data = read(proc, f"{pid}/smaps_rollup") or b""
    kib = 0
    for line in data.splitlines():
        if line.startswith((b"Pss_Anon:", b"Pss_Shmem:")):
            kib += int(line.split()[1])
    return kib * 1024


def open_files(proc: int, pid: int) -> int:
    """How many descriptors a process has open (Linux 6.2: the folder's size; before: counted)."""
    try:
        size = os.stat(f"{pid}/fd", dir_fd=proc).st_size
    except OSError:
        return 0
    return size or len(names(proc, f"{pid}/fd"))


def link(proc: int, path: str) -> str:
    """Where a link below the box's /proc leads, or "" when it is gone or closed to us."""
    try:
        return os.readlink(path, dir_fd=proc)
    except OSError:
        return ""
