"""The admin socket: whoever runs the daemon can see what it is doing, as one JSON document for each connection."""

import logging
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import trio

from runnerd.errors import SetupError
from runnerd.server import address
from runnerd.session.registry import Registry

log = logging.getLogger("runnerd.server")

NAME = "admin.sock"

PATIENCE = 5.0
"""Seconds that a reader may take."""


def overview(registry: Registry) -> dict[str, Any]:
    """All that `runnerd top` shows: counts, sessions, spaces, what waits in the pool. Seconds and bytes."""
    status = registry.status()
    return {
        "boxes": status.boxes,
        "boxes_max": status.boxes_max,
        "queued": status.queued,
        "started": status.started,
        "ended": dict(status.ended),
        "draining": status.draining,
        "sessions": [
            {
                "session": session.id,
                "language": session.run.language,
                "mode": session.run.mode,
                "state": session.state,
                "viewers": len(session.feed.viewers),
                "output": session.log.end,
                "quiet": round(trio.current_time() - session.feed.active, 3),
            }
            for session in registry.sessions.values()
        ],
        "spaces": [msgspec.to_builtins(space.status()) for space in registry.spaces],
        "pool": [msgspec.to_builtins(stock) for stock in status.stocks],
    }


async def serve_admin(state: Path, tell: Callable[[], dict[str, Any]]) -> None:
    """Serve until cancelled; without it where the socket cannot be made, which is logged. For this user only."""
    where = address.UnixAddress(state / NAME)
    try:
        sockets = address.listen(where, 0o600)
    except SetupError as problem:
        log.warning("`runnerd top` will show nothing", extra={"problem": problem.message, "hint": problem.hint})
        return
    sockets[0].setblocking(False)
    try:
        async with trio.open_nursery() as nursery:
            listener = trio.SocketListener(trio.socket.from_stdlib_socket(sockets[0]))
            while True:
                nursery.start_soon(_answer, await listener.accept(), tell)
    finally:
        address.close(where, sockets)


async def _answer(stream: trio.SocketStream, tell: Callable[[], dict[str, Any]]) -> None:
    with trio.move_on_after(PATIENCE):
        try:
            async with stream:
                await stream.send_all(msgspec.json.encode(tell()) + b"\n")
        except trio.BrokenResourceError:
            return


def ask(state: Path) -> dict[str, Any]:
    """What the daemon of this state folder tells. Raises OSError when there is none, or it does not answer."""
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(PATIENCE)
        connection.connect(str(state / NAME))
        data = bytearray()
        while part := connection.recv(65536):
            data += part
    return msgspec.json.decode(data)
