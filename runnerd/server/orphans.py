"""Reaps what boxes leave to the daemon: as subreaper it inherits the children of a bubblewrap that was killed."""

import os
import signal
import threading
from contextlib import suppress
from pathlib import Path

import trio

from runnerd.sandbox import spawn


async def reap() -> None:
    """Reap orphans until cancelled; the daemon's own children are left to who waits for them."""
    with trio.open_signal_receiver(signal.SIGCHLD) as signals:
        async for _ in signals:
            reap_once()


def reap_once() -> None:
    """Reap the orphans that are zombies now. Waits for nothing."""
    children = Path(f"/proc/self/task/{threading.main_thread().native_id}/children")
    for pid in map(int, children.read_text().split()):
        if pid not in spawn.alive:
            with suppress(ChildProcessError):
                os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG)
