"""A box's processes, read from its own /proc through a descriptor. Pids are the box's, and init is 1.

Nothing here raises for a process that has vanished, or that the kernel closes to us: it is None, or holds nothing.
"""

import os
from typing import NamedTuple

PAGE = os.sysconf("SC_PAGE_SIZE")
_TICK = 1 / os.sysconf("SC_CLK_TCK")
_READ = 4096
_FLAGS = os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW


class Stat(NamedTuple):
    """What /proc/PID/stat says (man 5 proc). `tty` is a device number as os.stat gives it, 0 for none; `faults` counts
    page faults; `cpu` is seconds, user and system, `reaped` those of children it waited for; `virtual` and `resident`
    are bytes."""

    state: str
    ppid: int
    pgrp: int
    session: int
    tty: int
    tpgid: int
    faults: int
    cpu: float
    reaped: float
    threads: int
    started: int
    virtual: int
    resident: int


class Memory(NamedTuple):
    """Bytes: `private` anonymous pages, resident or swapped out, and page tables; `shared` resident pages of tmpfs and
    shared anonymous memory."""

    private: int
    shared: int


def read(proc: int, path: str, size: int = _READ) -> bytes | None:
    """The start of a file below the box's /proc, by one read: most of its files give it at once."""
    try:
        fd = os.open(path, _FLAGS, dir_fd=proc)
    except OSError:
        return None
    try:
        return os.read(fd, size)
    except OSError:
        return None
    finally:
        os.close(fd)


def read_whole(proc: int, path: str, size: int) -> bytes:
    """Up to `size` bytes of a file that the kernel gives page by page (maps, fdinfo); b"" when there is none."""
    parts: list[bytes] = []
    try:
        fd = os.open(path, _FLAGS, dir_fd=proc)
    except OSError:
        return b""
    try:
        while size > 0 and (part := os.read(fd, min(size, 65536))):
            parts.append(part)
            size -= len(part)
    except OSError:
        pass
    finally:
        os.close(fd)
    return b"".join(parts)


def read_memory(proc: int, pid: int, address: int, size: int) -> bytes:
    """Up to `size` bytes of a process's memory; b"" where nothing can be read."""
    try:
        fd = os.open(f"{pid}/mem", _FLAGS, dir_fd=proc)
    except OSError:
        return b""
    try:
        return os.pread(fd, size, address)
    except (OSError, OverflowError):
        return b""
    finally:
        os.close(fd)


def names(proc: int, path: str) -> list[str] | None:
    """The names in a folder below the box's /proc."""
    try:
        fd = os.open(path, _FLAGS | os.O_DIRECTORY, dir_fd=proc)
    except OSError:
        return None
    try:
        return os.listdir(fd)
    except OSError:
        return None
    finally:
        os.close(fd)


def processes(proc: int) -> list[int]:
    """All pids of the box, init among them; none once the box is gone."""
    return [int(name) for name in names(proc, ".") or () if name.isdecimal()]


def tasks(proc: int, pid: int) -> list[int]:
    """The thread ids of a process."""
    return [int(name) for name in names(proc, f"{pid}/task") or ()]


def stat(proc: int, pid: int) -> Stat | None:
    data = read(proc, f"{pid}/stat")
    return parse_stat(data) if data else None


def state(proc: int, pid: int, tid: int) -> str:
    """One thread's state, a letter; "" when it is gone."""
    data = read(proc, f"{pid}/task/{tid}/stat")
    return chr(data[data.rindex(b")") + 2]) if data else ""


def parse_stat(data: bytes) -> Stat:
    """The command's name may hold anything, so fields are counted from its last parenthesis."""
    fields = data[data.rindex(b")") + 2 :].split()
    tty = int(fields[4])
    return Stat(
        fields[0].decode(),
        int(fields[1]),
        int(fields[2]),
        int(fields[3]),
        os.makedev(tty >> 8 & 0xFFF, tty & 0xFF | tty >> 12 & 0xFFF00) if tty else 0,
        int(fields[5]),
        int(fields[7]) + int(fields[9]),
        (int(fields[11]) + int(fields[12])) * _TICK,
        (int(fields[13]) + int(fields[14])) * _TICK,
        int(fields[17]),
        int(fields[19]),
        int(fields[20]),
        int(fields[21]) * PAGE,
    )


def memory(proc: int, pid: int) -> Memory:
    found = parse_kib(read(proc, f"{pid}/status") or b"", (b"RssAnon", b"RssShmem", b"VmPTE", b"VmSwap"))
    return Memory(found[b"RssAnon"] + found[b"VmPTE"] + found[b"VmSwap"], found[b"RssShmem"])


def proportional(proc: int, pid: int) -> Memory:
    """As `memory`, with each page that several processes share divided among them. Walks the page tables: slow."""
    pages = parse_kib(read(proc, f"{pid}/smaps_rollup") or b"", (b"Pss_Anon", b"Pss_Shmem", b"SwapPss"))
    tables = parse_kib(read(proc, f"{pid}/status") or b"", (b"VmPTE",))
    return Memory(pages[b"Pss_Anon"] + pages[b"SwapPss"] + tables[b"VmPTE"], pages[b"Pss_Shmem"])


def parse_kib(data: bytes, wanted: tuple[bytes, ...]) -> dict[bytes, int]:
    """Lines "name:   number kB" of status or smaps_rollup as bytes; 0 for a name that does not stand there."""
    found = dict.fromkeys(wanted, 0)
    for line in data.splitlines():
        name, _, value = line.partition(b":")
        if name in found:
            found[name] = int(value.split()[0]) * 1024
    return found


def descriptors(proc: int, pid: int) -> int:
    """How many descriptors a process has open, even one whose folder is closed to us (before Linux 6.2: counted)."""
    try:
        size = os.stat(f"{pid}/fd", dir_fd=proc).st_size
    except OSError:
        return 0
    return size or len(names(proc, f"{pid}/fd") or ())


def link(proc: int, path: str) -> str:
    """Where a link below the box's /proc leads, or ""."""
    try:
        return os.readlink(path, dir_fd=proc)
    except OSError:
        return ""


def device(proc: int, pid: int, fd: int) -> int:
    """The device number behind a process's descriptor; 0 when it is none. Nothing is opened, so nothing can block."""
    try:
        return os.stat(f"{pid}/fd/{fd}", dir_fd=proc).st_rdev
    except OSError:
        return 0
