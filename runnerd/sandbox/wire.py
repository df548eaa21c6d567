"""The payloads of init's protocol (native/init.h) as values. No I/O."""

import os
import struct
from collections.abc import Iterator, Mapping

import msgspec

from runnerd.sandbox.spec import Exit, Launch, Mode

_START = struct.Struct("=6I16Q")
EXIT = struct.Struct("=2Q")
_ENTRY = struct.Struct("=2QI4x")
_MODES: dict[Mode, int] = {"terminal": 0, "split": 1, "pipes": 2}
_RLIMITS = 16
_KEEP = 2**64 - 1


class Entry(msgspec.Struct, frozen=True):
    """One name in a folder: size in bytes, mtime in seconds, mode as st_mode."""

    name: str
    size: int
    mtime: int
    mode: int


def start(launch: Launch, nice: int, rlimits: Mapping[int, int]) -> bytes:
    """START's payload; `rlimits` by the kernel's numbers, others stay."""
    limits = [rlimits.get(number, _KEEP) for number in range(_RLIMITS)]
    window, argc, envc = launch.window, len(launch.argv), len(launch.env)
    head = _START.pack(_MODES[launch.mode], window.rows, window.cols, nice, argc, envc, *limits)
    strings = [launch.cwd, *launch.argv, *(f"{name}={value}" for name, value in launch.env.items())]
    return head + b"".join(os.fsencode(text) + b"\0" for text in strings)


def exit_of(status: int, payload: bytes) -> Exit:
    """EXIT's: a status as wait4 gives it, and a payload of EXIT's size."""
    micros, kib = EXIT.unpack(payload)
    code = os.WEXITSTATUS(status) if os.WIFEXITED(status) else None
    signum = os.WTERMSIG(status) if os.WIFSIGNALED(status) else None
    return Exit(code, signum, micros / 1e6, kib * 1024)


def entries(payload: bytes) -> Iterator[Entry]:
    """LIST's, of one reply. Raises ValueError for what init cannot have said."""
    at = 0
    while at < len(payload):
        end = payload.find(b"\0", at + _ENTRY.size)
        if end < 0:
            raise ValueError("has an entry without an end")
        size, mtime, mode = _ENTRY.unpack_from(payload, at)
        yield Entry(os.fsdecode(payload[at + _ENTRY.size : end]), size, mtime, mode)
        at = end + 1
