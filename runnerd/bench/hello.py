"""Turns that run a small program and see it to its end."""

from collections.abc import Callable, Mapping, Sequence

from runnerd.bench import client, host
from runnerd.bench.client import WebSocket
from runnerd.bench.daemon import Server
from runnerd.bench.turns import Turn

GREETING = b"hello"


def boxed(
    daemon: Server, connection: WebSocket, language: str, source: Callable[[], str], name: str = "runnerd"
) -> Turn:
    """A run over an open connection. Then time goes by, uncounted, until boxes wait again as before. Raises Missing."""
    daemon.require(language)

    def turn() -> Mapping[str, float]:
        code = source()
        taken = client.run(connection, GREETING, language=language, code=code)
        daemon.settle(language)
        return {f"{name}, first byte": taken.first, f"{name}, exit": taken.exit}

    return turn


def bare(name: str, command: Sequence[str]) -> Turn:
    """The same on the host: from its start to its end."""

    def turn() -> Mapping[str, float]:
        taken = host.spawned(command)
        return {f"{name}, first byte": taken.first, f"{name}, exit": taken.exit}

    return turn
