"""The daemon: opens what it needs, serves, and stops in order."""

import logging
import os
import resource
import signal
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Literal

import prctl
import trio

from runnerd import toolchains
from runnerd.config import Config
from runnerd.errors import Busy
from runnerd.protocols.terminal import SUBPROTOCOL, TerminalAdapter
from runnerd.resources import folder
from runnerd.sandbox.host import Host, open_host
from runnerd.server import address, assets, logs, orphans
from runnerd.server.asgi import HttpServer
from runnerd.server.auth import Doorkeeper, key_in
from runnerd.server.conversation import Conversation, Drain
from runnerd.server.head import Head
from runnerd.server.http import TERMINAL, Language, Site, make_app
from runnerd.server.listener import Listener, Settings
from runnerd.server.metrics import Metric
from runnerd.server.notify import notify
from runnerd.server.origin import Gate
from runnerd.server.stream import ConnectionStream
from runnerd.server.websocket import Keepalive, WebSocketTransport, serve_websocket
from runnerd.session.registry import Registry
from runnerd.store import Store

log = logging.getLogger("runnerd.server")

LimitsWish = Literal["cgroup", "best-effort", "auto"]

FLUSH = 3.0
"""Seconds that connections have, after the last session ended, to take what they were sent."""

PER_BOX = 16
RESERVE = 64
"""Descriptors that one box, and the daemon itself, may need at most."""


def run_daemon(config: Config, limits: LimitsWish) -> None:
    """Serve until SIGTERM or SIGINT; a second one ends at once. Call from the main thread of a fresh process.

    Raises SetupError or ConfigError for what keeps the daemon from starting.
    """
    logs.set_up()
    where = address.parse(config.listen)
    prctl.set_name("runnerd")
    prctl.set_child_subreaper(1)
    with ExitStack() as stack:
        sockets = address.listen(where)
        stack.callback(address.close, where, sockets)
        host = stack.enter_context(open_host(config, limits=limits, state_dir=config.state))
        daemon = Daemon(config, host, toolchains.load(), where.loopback)
        trio.run(daemon.run, address.bound(where, sockets), sockets, strict_exception_groups=True)


class Daemon:
    """All parts joined. `loopback`: only this machine can connect."""

    def __init__(self, config: Config, host: Host, languages: toolchains.Toolchains, *, loopback: bool) -> None:
        self._config = config
        self._host = host
        self._toolchains = languages
        self._loopback = loopback
        self._gate = Gate(config.http.origins, config.http.hosts, loopback=loopback)
        self._drain = Drain(config.drain.seconds)

    async def run(self, where: address.Address, sockets: list[socket.socket]) -> None:
        """Serve on `sockets` until a signal comes and the sessions are over. The sockets are closed then."""
        with trio.open_signal_receiver(signal.SIGTERM, signal.SIGINT) as signals:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(orphans.reap)
                async with trio.open_nursery() as sessions:
                    self._registry = Registry(self._host, self._toolchains, self._config, sessions)
                    self._listener = self._make_listener()
                    await self._serve(where, sockets, nursery, signals)
                    sessions.cancel_scope.cancel()
                nursery.cancel_scope.cancel()

    async def _serve(
        self,
        where: address.Address,
        sockets: list[socket.socket],
        nursery: trio.Nursery,
        signals: AsyncIterator[int],
    ) -> None:
        async with trio.open_nursery() as connections:
            accepting = trio.CancelScope()
            nursery.start_soon(self._accept, accepting, sockets, connections)
            log.info("ready", extra={"address": where, "limits": self._host.limits_mode})
            notify("READY=1\nSTATUS=listening on " + str(where))
            received = await anext(signals)
            log.info("stopping", extra={"signal": signal.Signals(received).name, "seconds": self._drain.seconds})
            notify("STOPPING=1")
            accepting.cancel()
            self._drain.begun.set()
            await self._until_over(signals)
            connections.cancel_scope.deadline = trio.current_time() + FLUSH
