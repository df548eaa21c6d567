"""Tells the service manager where the daemon stands (sd_notify): one datagram to $NOTIFY_SOCKET."""

import os
import socket


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
