"""Whether a box waits for its user: a foreground process is blocked on the terminal, and nothing else runs.

Found from outside, by what the kernel says each thread is blocked in; nothing is traced or stopped.
"""

import os
import platform
import struct
from collections.abc import Iterator

from runnerd.sandbox import procfs

_POLLIN = 0x1 | 0x40
_NUMBERS = {
    "x86_64": {"read": (0, 19, 45), "poll": (7, 271), "select": (23, 270), "epoll": (232, 281, 441)},
    "aarch64": {"read": (63, 65, 207), "poll": (73,), "select": (72,), "epoll": (22, 441)},
}
CALLS = {number: kind for kind, numbers in _NUMBERS[platform.machine()].items() for number in numbers}
"""System call number -> how it waits. read: read, readv, recvfrom; the rest by name. From the kernel's tables."""

_SETS = 64 * 8
"""How many descriptors of a poll or select are looked at."""


def waits_for_input(proc: int) -> bool:
    """Whether the box behind this /proc descriptor waits for input from its terminal.

    A process in state R or D anywhere in the box means that it does not. Init and the leaders, whose sessions have
    no part in the foreground group, never count as waiting.
    """
    foreground: list[int] = []
    for pid in procfs.processes(proc):
        status = procfs.stat(proc, pid)
        if status is None:
            continue
        if status.state in "RD":
            return False
        if status.tty and status.pgrp == status.tpgid:
            foreground.append(pid)
        if status.threads > 1 and any(_runs(proc, f"{pid}/task/{tid}") for tid in procfs.names(proc, f"{pid}/task")):
            return False
    return any(_blocked_on_terminal(proc, pid, tid) for pid in foreground for tid in procfs.names(proc, f"{pid}/task"))


def _runs(proc: int, task: str) -> bool:
    data = procfs.read(proc, f"{task}/stat")
    return bool(data) and procfs.parse_stat(data).state in "RD"


def _blocked_on_terminal(proc: int, pid: int, tid: str) -> bool:
    data = procfs.read(proc, f"{pid}/task/{tid}/syscall")
    if data is None:
        return False
    words = data.split()
    if len(words) < 7:  # "running", or "-1 sp pc" outside of any call
        return False
    kind = CALLS.get(int(words[0]))
    arguments = [int(word, 16) for word in words[1:7]]
    match kind:
        case "read":
            descriptors: Iterator[int] = iter([arguments[0]])
        case "poll":
            descriptors = _polled(_memory(proc, pid, arguments[0], min(arguments[1], _SETS) * 8))
        case "select":
            descriptors = _selected(_memory(proc, pid, arguments[1], (min(arguments[0], _SETS) + 63) // 64 * 8))
        case "epoll":
            descriptors = _listed(procfs.read(proc, f"{pid}/fdinfo/{arguments[0]}", 65536) or b"")
        case _:
            return False
    return any(_is_terminal(procfs.link(proc, f"{pid}/fd/{fd}")) for fd in descriptors)


def _is_terminal(target: str) -> bool:
    return target.startswith("/dev/pts/") or target in ("/dev/tty", "/dev/console")


def _polled(data: bytes) -> Iterator[int]:
    """Descriptors of struct pollfd[] that are asked for input."""
    return (fd for fd, events, _ in struct.iter_unpack("=ihh", data[: len(data) // 8 * 8]) if events & _POLLIN)


def _selected(data: bytes) -> Iterator[int]:
    """Descriptors whose bit is set in an fd_set."""
    bits = int.from_bytes(data, "little")
    return (fd for fd in range(bits.bit_length()) if bits >> fd & 1)


def _listed(data: bytes) -> Iterator[int]:
    """Descriptors that an epoll's fdinfo lists as asked for input: "tfd:  0 events:  19 data: ..."."""
    for line in data.splitlines():
        words = line.split()
        if len(words) >= 4 and words[0] == b"tfd:" and int(words[3], 16) & _POLLIN:
            yield int(words[1])


def _memory(proc: int, pid: int, address: int, size: int) -> bytes:
    if not address or not size:
        return b""
    try:
        fd = os.open(f"{pid}/mem", os.O_RDONLY | os.O_CLOEXEC, dir_fd=proc)
    except OSError:
        return b""
    try:
        return os.pread(fd, size, address)
    except (OSError, OverflowError):
        return b""
    finally:
        os.close(fd)
