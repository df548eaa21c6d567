"""Whether a box waits for its user: a foreground process is blocked on the terminal, and nothing else runs.

Found from outside, by what the kernel says each thread is blocked in; nothing is traced or stopped.
"""

import os
import platform
import struct
from collections.abc import Callable, Iterable

from runnerd.sandbox import procfs

_NUMBERS = {
    "x86_64": {"read": (0, 17, 19, 295, 327), "poll": (7, 271), "select": (23, 270), "epoll": (232, 281, 441)}
    | {"restarted": (219,)},
    "aarch64": {"read": (63, 65, 67, 69, 286), "poll": (73,), "select": (72,), "epoll": (22, 441)}
    | {"restarted": (128,)},
}
CALLS = {number: kind for kind, numbers in _NUMBERS[platform.machine()].items() for number in numbers}
"""System call number -> how it waits, from the kernel's tables. read: read, readv, pread64, preadv, preadv2."""

_POLLIN = 0x1 | 0x40
_SET = 1024
"""How many descriptors of a poll or select are looked at."""
_RESTARTED_SET = 8
"""The same for a call that a stop has interrupted: the kernel no longer says which it was, only its arguments. Those of
a futex or a sleep do not look like a set so small."""
_EPOLL = 256 * 1024
_DEV_TTY, _DEV_CONSOLE = os.makedev(5, 0), os.makedev(5, 1)


def waits_for_input(proc: int, terminal: int | None = None) -> bool:
    """Whether the box behind this /proc descriptor waits for input from its terminal. Where it has several, `terminal`
    is the device number of the one that is meant.

    A thread in state R or D anywhere in the box means that it does not. Init and the leaders are never part of a
    foreground group. Cheapest questions first: a silent program's box is asked every few hundredths of a second.
    """
    foreground: list[tuple[int, procfs.Stat]] = []
    threaded: list[int] = []
    for pid in procfs.processes(proc):
        status = procfs.stat(proc, pid)
        if status is None:
            continue
        if status.state in "RD":
            return False
        if (
            (status.tty if terminal is None else status.tty == terminal)
            and status.pgrp == status.tpgid
            and status.state == "S"
        ):
            foreground.append((pid, status))
        if status.threads > 1:
            threaded.append(pid)
    # Whether a thread runs is asked before any memory is read: a busy one may hold the lock that reading needs.
    if not foreground or any(
        procfs.state(proc, pid, tid) in ("R", "D") for pid in threaded for tid in _others(proc, pid)
    ):
        return False
    return any(
        _blocked(proc, pid, tid, status.tty)
        for pid, status in foreground
        for tid in ([pid] if status.threads == 1 else procfs.tasks(proc, pid))
    )


def _others(proc: int, pid: int) -> list[int]:
    return [tid for tid in procfs.tasks(proc, pid) if tid != pid]


def _blocked(proc: int, pid: int, tid: int, tty: int) -> bool:
    data = procfs.read(proc, f"{pid}/task/{tid}/syscall")
    if (call := parse_syscall(data or b"")) is None:
        return False
    descriptors = _READERS[call[0]](proc, pid, call[1])
    return any(procfs.device(proc, pid, fd) in (tty, _DEV_TTY, _DEV_CONSOLE) for fd in descriptors)


def parse_syscall(data: bytes) -> tuple[str, list[int]] | None:
    """A kind of CALLS and the six arguments; None for "running", "-1 sp pc" (outside of any call) and other calls."""
    words = data.split()
    if len(words) != 9 or (kind := CALLS.get(int(words[0]))) is None:
        return None
    return kind, [int(word, 16) for word in words[1:7]]


def _reading(proc: int, pid: int, arguments: list[int]) -> Iterable[int]:
    return (arguments[0] & 0xFFFFFFFF,)


def _polling(proc: int, pid: int, arguments: list[int]) -> Iterable[int]:
    return polled(procfs.read_memory(proc, pid, arguments[0], min(arguments[1] & 0xFFFFFFFF, _SET) * 8))


def _restarted(proc: int, pid: int, arguments: list[int]) -> Iterable[int]:
    return _polling(proc, pid, arguments) if 0 < arguments[1] <= _RESTARTED_SET else ()


def _selecting(proc: int, pid: int, arguments: list[int]) -> Iterable[int]:
    count = min(arguments[0] & 0xFFFFFFFF, _SET)
    if not arguments[1]:
        return ()
    return selected(procfs.read_memory(proc, pid, arguments[1], (count + 63) // 64 * 8), count)


def _epolling(proc: int, pid: int, arguments: list[int]) -> Iterable[int]:
    return listed(procfs.read_whole(proc, f"{pid}/fdinfo/{arguments[0] & 0xFFFFFFFF}", _EPOLL))


_READERS: dict[str, Callable[[int, int, list[int]], Iterable[int]]] = {
    "read": _reading,
    "poll": _polling,
    "restarted": _restarted,
    "select": _selecting,
    "epoll": _epolling,
}


def polled(data: bytes) -> list[int]:
    """Descriptors of struct pollfd[] that are asked for input."""
    whole = data[: len(data) // 8 * 8]
    return [fd for fd, events, _ in struct.iter_unpack("=ihH", whole) if events & _POLLIN and fd >= 0]


def selected(data: bytes, count: int) -> list[int]:
    """Descriptors below `count` whose bit is set in an fd_set."""
    bits = int.from_bytes(data, "little")
    return [fd for fd in range(min(bits.bit_length(), count)) if bits >> fd & 1]


def listed(data: bytes) -> list[int]:
    """Descriptors that an epoll's fdinfo lists as asked for input: "tfd:  0 events:  19 data: ...", events in hex."""
    rows = (line.split() for line in data.splitlines() if line.startswith(b"tfd:"))
    return [int(row[1]) for row in rows if len(row) >= 4 and int(row[3], 16) & _POLLIN]
