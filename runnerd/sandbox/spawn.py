"""Start a process by clone3, without copying the daemon's page tables and without Python between fork and exec."""

import os
import signal
import threading
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any

import trio

from runnerd.sandbox import slices
from runnerd.sandbox._native import ffi, lib

alive: set[int] = set()
"""Processes that were started here and not waited for yet. Any other child of the daemon is an orphan of a box."""


class Child:
    """A started process. `wait` must be completed once, and closes the pidfd."""

    __slots__ = ("pid", "pidfd")

    def __init__(self, pid: int, pidfd: int) -> None:
        self.pid, self.pidfd = pid, pidfd
        alive.add(pid)

    def kill(self, signum: int = signal.SIGKILL) -> None:
        """Signal it; no error when it is gone already."""
        if self.pidfd >= 0:
            with suppress(ProcessLookupError):
                signal.pidfd_send_signal(self.pidfd, signum)

    async def wait(self) -> int:
        """Its exit code, negative for the signal that ended it. May be cancelled and called again."""
        await trio.lowlevel.wait_readable(self.pidfd)
        info = os.waitid(os.P_PIDFD, self.pidfd, os.WEXITED)  # noqa: ASYNC222  it has ended
        os.close(self.pidfd)
        self.pidfd = -1
        alive.discard(self.pid)
        assert info is not None
        return info.si_status if info.si_code == os.CLD_EXITED else -info.si_status


def spawn(
    argv: Sequence[str],
    env: Mapping[str, str],
    fds: Sequence[int],
    *,
    uid: int | None = None,
    cgroup: int | None = None,
) -> Child:
    """Start `argv[0]`, an absolute path. fds[i] becomes its descriptor i (at most 16), all others are closed.

    `uid` is taken as uid and gid, without supplementary groups; `cgroup` is a descriptor of the cgroup to start in.
    Signals are at their defaults, slices of processor time a box's. Raises OSError whose text names the step that
    failed (execve, setresuid, ...); ValueError for a uid that the kernel would take for "keep it", or a NUL in a
    string; RuntimeError outside the main thread, whose end would be taken for the daemon's by PR_SET_PDEATHSIG.
    """
    if threading.current_thread() is not threading.main_thread():
        raise RuntimeError("spawn may be called from the main thread only")
    if uid is not None and not 0 <= uid < 2**32 - 1:
        raise ValueError(f"{uid} is no uid")
    words = [_string(word) for word in argv]
    variables = [_string(f"{name}={value}") for name, value in env.items()]
    arguments = ffi.new("char *[]", [*words, ffi.NULL])
    environment = ffi.new("char *[]", [*variables, ffi.NULL])
    numbers = ffi.new("int[]", list(fds))
    request = ffi.new(
        "struct runnerd_spawn *",
        {
            "path": words[0],
            "argv": arguments,
            "envp": environment,
            "fds": numbers,
            "nfds": len(fds),
            "uid": -1 if uid is None else uid,
            "cgroup": -1 if cgroup is None else cgroup,
            "slice": slices.BOX,
        },
    )
    pid = lib.runnerd_spawn(request)
    if pid < 0:
        step = ffi.string(request.failed).decode()
        raise OSError(ffi.errno, f"starting {argv[0]}: {step}: {os.strerror(ffi.errno)}")
    return Child(pid, request.pidfd)


def _string(text: str) -> Any:
    """A C string that lives as long as the result; one that C would cut short is refused, as os.execve does."""
    data = os.fsencode(text)
    if b"\0" in data:
        raise ValueError(f"embedded NUL in {text!r}")
    return ffi.new("char[]", data)
