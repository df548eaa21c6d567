"""Reaps what boxes leave to the daemon: as subreaper it inherits the children of a bubblewrap that was killed."""

import os
import signal
import threading

import trio

from runnerd.sandbox import spawn


async def reap() -> None:
    """Reap orphans until cancelled; the daemon's own children are left to who waits for them."""
    children = f"/proc/self/task/{threading.main_thread().native_id}/children"
    with trio.open_signal_receiver(signal.SIGCHLD) as signals:
        async for _ in signals:
            with open(children) as file:
                pids = [int(word) for word in file.read().split()]
            for pid in pids:
                if pid not in spawn.alive:
                    try:
                        os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG)
                    except ChildProcessError:
                        continue
