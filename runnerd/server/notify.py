"""Tells the service manager where the daemon stands (sd_notify): one datagram to $NOTIFY_SOCKET."""

import os
import socket
import time
from collections.abc import Callable

import trio

PACE = 1.0
"""Seconds between two changes of the status line, at least."""


def notify(state: str) -> bool:
    """Send `state`, for example "READY=1". False when no service manager listens or it cannot be reached.

    A daemon that cannot tell runs on: the manager decides what silence means.
    """
    address = os.environ.get("NOTIFY_SOCKET", "")
    if not address.startswith(("/", "@")):
        return False
    if address.startswith("@"):
        address = "\0" + address[1:]
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as channel:
        try:
            channel.sendto(state.encode(), address)
        except OSError:
            return False
    return True


def reloading() -> bool:
    """Say that the configuration is being read again; READY=1 says that it was."""
    return notify(f"RELOADING=1\nMONOTONIC_USEC={time.monotonic_ns() // 1000}")


def stopping(seconds: float) -> bool:
    """Say that the daemon stops, and that this may take so long."""
    return notify("STOPPING=1") and notify(f"EXTEND_TIMEOUT_USEC={round(seconds * 1e6)}")


async def show_status(text: Callable[[], str]) -> None:
    """Keep the manager's status line up to date until cancelled; it is first told when it changes."""
    told = text()
    while True:
        await trio.sleep(PACE)
        if (now := text()) != told:
            notify(f"STATUS={now}")
            told = now


async def feed_watchdog() -> None:
    """Say that the event loop goes round, twice in the time that the manager allows; over at once when it asks none."""
    allowed, pid = os.environ.get("WATCHDOG_USEC", ""), os.environ.get("WATCHDOG_PID", "")
    if not allowed.isdigit() or pid not in ("", str(os.getpid())):
        return
    while True:
        notify("WATCHDOG=1")
        await trio.sleep(int(allowed) / 2e6)
