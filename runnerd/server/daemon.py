"""The daemon: opens what it needs, serves, and stops in order."""

import gc
import logging
import resource
import signal
import socket
import time
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import ExitStack
from typing import TYPE_CHECKING, Literal

import prctl
import trio

from runnerd import toolchains
from runnerd.config import Config
from runnerd.errors import Busy, RunnerdError
from runnerd.protocols.terminal import PATH, SUBPROTOCOL, TerminalAdapter
from runnerd.resources import folder
from runnerd.sandbox.host import Host, open_host
from runnerd.server import address, assets, logs, orphans
from runnerd.server.accounts import Accounts
from runnerd.server.admission import Admission
from runnerd.server.asgi import HttpServer
from runnerd.server.auth import Doorkeeper, check_settings
from runnerd.server.conversation import Conversation, Drain
from runnerd.server.forwarded import Proxies
from runnerd.server.head import Head
from runnerd.server.http import Language, Site, make_app
from runnerd.server.listener import Listener, Settings
from runnerd.server.metrics import Metric
from runnerd.server.notify import notify
from runnerd.server.origin import Gate
from runnerd.server.stream import ConnectionStream
from runnerd.server.websocket import Keepalive, WebSocketTransport, serve_websocket
from runnerd.session.registry import Registry

if TYPE_CHECKING:
    from runnerd.store.database import Store

log = logging.getLogger("runnerd.server")

LimitsWish = Literal["cgroup", "best-effort", "auto"]

MakeRegistry = Callable[[Host, toolchains.Toolchains, Config, trio.Nursery], Registry]

FLUSH = 3.0
"""Seconds that connections have, after the last session ended, to take what they were sent."""

PER_BOX = 16
RESERVE = 64
"""Descriptors that one box, and the daemon itself, may need at most."""


def run_daemon(config: Config, limits: LimitsWish) -> None:
    """Serve until SIGTERM or SIGINT; a second one ends at once. Call from the main thread of a fresh process.

    Raises SetupError or ConfigError for what keeps the daemon from starting.
    """
    begun = time.monotonic()
    where = address.parse(config.listen)
    check_settings(config.auth, str(where), loopback=where.loopback)
    prepare_process()
    with ExitStack() as stack:
        sockets = address.listen(where)
        stack.callback(address.close, where, sockets)
        host = stack.enter_context(open_host(config, limits=limits, state_dir=config.state))
        daemon = Daemon(config, host, toolchains.load(), stack, loopback=where.loopback)
        trio.run(daemon.run, address.bound(where, sockets), sockets, begun)


def prepare_process() -> None:
    """What belongs to the whole process: its log, its name, and that it inherits what boxes leave."""
    gc.freeze()  # a full collection stops every terminal: it need not look at modules
    logs.set_up()
    prctl.set_name("runnerd")  # pyright: ignore[reportUnknownMemberType, reportAttributeAccessIssue]
    prctl.set_child_subreaper(1)  # pyright: ignore[reportUnknownMemberType, reportAttributeAccessIssue]


class Daemon:
    """All parts joined. `stack` closes what is opened later; `loopback`: only this machine can connect."""

    def __init__(
        self,
        config: Config,
        host: Host,
        languages: toolchains.Toolchains,
        stack: ExitStack,
        *,
        loopback: bool,
        make_registry: MakeRegistry = Registry,
    ) -> None:
        self._make_registry = make_registry
        self._config = config
        self._host = host
        self._toolchains = languages
        self._accounts = Accounts(self._open_store)
        stack.callback(self._accounts.close)
        self._proxies = Proxies(config.http.trusted_proxies)
        self._gate = Gate(config.http.origins, config.http.hosts, loopback=loopback)
        self._doorkeeper = Doorkeeper(self._accounts, config.auth)
        self._drain = Drain(config.drain.seconds)

    async def run(self, where: address.Address, sockets: list[socket.socket], begun: float) -> None:
        """Serve on `sockets` until a signal comes and the sessions are over. `begun`: when the start began."""
        with trio.open_signal_receiver(signal.SIGTERM, signal.SIGINT) as signals:
            async with trio.open_nursery() as nursery:
                self._registry = self._make_registry(self._host, self._toolchains, self._config, nursery)
                self._admission = Admission(
                    self._registry, self._toolchains, self._doorkeeper, self._accounts, self._config, nursery
                )
                self._http = HttpServer(make_app(self._site()), head_size=self._config.http.head_size)
                websockets = {PATH: self._terminal}
                self._listener = Listener(self._settings(), self._gate, self._http, websockets, self._proxies)
                nursery.start_soon(orphans.reap)
                nursery.start_soon(self._doorkeeper.revocations.run)
                async with trio.open_nursery() as connections:
                    accepting = trio.CancelScope()
                    nursery.start_soon(self._accept, accepting, sockets, connections)
                    self._say_ready(where, begun)
                    if not self._doorkeeper.open:
                        nursery.start_soon(self._look_at_store)
                    received = await anext(signals)
                    accepting.cancel()
                    await self._stop(signal.Signals(received), signals)
                    connections.cancel_scope.deadline = trio.current_time() + FLUSH
                nursery.cancel_scope.cancel()
        log.info("stopped")

    async def _accept(self, scope: trio.CancelScope, sockets: list[socket.socket], connections: trio.Nursery) -> None:
        with scope:
            await self._listener.accept(sockets, connections)

    def _say_ready(self, where: address.Address, begun: float) -> None:
        shown = f"http://{where}" if isinstance(where, address.TcpAddress) else where
        mode = self._host.limits_mode
        if mode == "best-effort":
            log.warning("limits: best-effort (rlimits and a watcher stand in for cgroup v2)")
        else:
            log.info("limits: %s", mode)
        if self._doorkeeper.open:
            log.warning("auth: open (whoever can connect may run programs, without a key)")
        else:
            log.info("auth: keys (runnerd keys create makes one)")
        took = round((time.monotonic() - begun) * 1000)
        log.info("listening on %s", shown, extra={"milliseconds": took})
        notify(f"READY=1\nSTATUS=listening on {shown}, limits: {mode}")

    async def _stop(self, received: signal.Signals, signals: AsyncIterator[int]) -> None:
        """Tell clients, then wait for the sessions: until the deadline, or until a second signal."""
        log.info("stopping", extra={"signal": received.name, "deadline": f"{self._drain.seconds:g}s"})
        notify("STOPPING=1")
        self._drain.begun.set()
        patience = trio.CancelScope()

        async def cut_short() -> None:
            await anext(signals)
            log.warning("a second signal: sessions end now")
            patience.cancel()

        async with trio.open_nursery() as nursery:
            nursery.start_soon(cut_short)
            with patience:
                await self._registry.drain(self._drain.seconds)
            nursery.cancel_scope.cancel()
        with trio.move_on_after(FLUSH):
            await self._registry.drain(0)
        await self._http.terminate()

    async def _terminal(self, stream: ConnectionStream, head: Head) -> None:
        key = self._doorkeeper.key_in(head)

        async def converse(transport: WebSocketTransport) -> None:
            conversation = Conversation(
                transport, TerminalAdapter(), self._admission, self._doorkeeper, self._drain, stream.asked.address, key
            )
            await conversation.run()

        http = self._config.http
        keepalive = Keepalive(http.ping_interval, http.pong_deadline, http.message_size)
        await serve_websocket(stream, head, keepalive, (SUBPROTOCOL,), converse)

    async def _look_at_store(self) -> None:
        """Open it before the first key comes, and tell the operator if that fails: clients hear nothing of why."""
        try:
            await self._accounts.ask(lambda store: None)
        except RunnerdError as problem:
            log.error("keys cannot be checked", extra={"problem": problem.message, "hint": problem.hint})

    def _open_store(self) -> "Store":
        from runnerd.store.database import open_store  # takes a while to load, and an open daemon may never need it

        return open_store(self._config.store, self._config.state)

    def _settings(self) -> Settings:
        http = self._config.http
        return Settings(
            connections=min(http.connections, _room_for_connections(self._config.boxes.max)),
            head_timeout=http.head_timeout,
            head_size=http.head_size,
            send_deadline=http.send_deadline,
            proxy_protocol=http.proxy_protocol,
        )

    def _site(self) -> Site:
        return Site(
            gate=self._gate,
            assets=assets.load(folder("web")),
            limits=self._host.limits_mode,
            languages=self._languages,
            metrics=self._metrics,
            full=self._refuse_when_full,
            draining=self._drain.begun.is_set,
            auth=self._config.auth.mode,
            body_size=self._config.http.message_size,
            proxies=self._proxies,
        )

    def _languages(self) -> list[Language]:
        return [_language(each, self._toolchains.missing(each)) for each in self._toolchains.all()]

    def _refuse_when_full(self) -> None:
        status, boxes = self._registry.status(), self._config.boxes
        if status.boxes >= boxes.max and status.queued >= boxes.queue:
            raise Busy("every box is taken, and the queue is full", retry_after=boxes.queue_wait)

    def _metrics(self) -> Iterable[Metric]:
        status, listener = self._registry.status(), self._listener
        yield Metric("boxes", "gauge", "Live boxes.", status.boxes)
        yield Metric("boxes_max", "gauge", "Boxes that may live at a time.", status.boxes_max)
        yield Metric("queue", "gauge", "Runs that wait for a box.", status.queued)
        yield Metric("sessions_started_total", "counter", "Sessions that were started.", status.started)
        for outcome, count in status.ended.items():
            yield Metric("sessions_ended_total", "counter", "Sessions that ended.", count, {"outcome": outcome})
        yield Metric("connections", "gauge", "Open connections.", listener.open)
        yield Metric("connections_total", "counter", "Connections that were accepted.", listener.accepted)
        yield Metric("connections_refused_total", "counter", "Connections beyond the maximum.", listener.refused)
        yield Metric("draining", "gauge", "1 while the daemon stops.", status.draining)


def _language(toolchain: toolchains.Toolchain, missing: list[toolchains.Need]) -> Language:
    return Language(
        id=toolchain.id,
        name=toolchain.name,
        aliases=toolchain.aliases,
        source=toolchain.source,
        sample={"code": toolchain.sample.code, "input": toolchain.sample.input},
        available=not missing,
        missing=[{"program": need.program, "package": need.package} for need in missing],
    )


def _room_for_connections(boxes: int) -> int:
    """Raise the soft limit of descriptors to the hard one; how many connections fit beside the boxes."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return max(16, hard - RESERVE - PER_BOX * boxes)
