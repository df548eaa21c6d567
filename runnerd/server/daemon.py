"""The daemon: opens what it needs, serves, and stops in order."""

import faulthandler
import gc
import logging
import math
import resource
import signal
import socket
import time
from collections.abc import AsyncIterator, Callable
from contextlib import ExitStack
from functools import partial
from typing import TYPE_CHECKING, Literal

import msgspec
import prctl
import trio

from runnerd import toolchains
from runnerd.config import Config
from runnerd.errors import Busy, ConfigError, RunnerdError
from runnerd.protocols import Start
from runnerd.resources import folder
from runnerd.sandbox import slices
from runnerd.sandbox.host import Host, open_host
from runnerd.sandbox.pool import Pool
from runnerd.sandbox.pressure import Pressure, sources
from runnerd.server import activation, address, admin, assets, logs, orphans, overview
from runnerd.server.accounts import Accounts
from runnerd.server.admission import Admission
from runnerd.server.asked import Asked
from runnerd.server.auth import Client, Doorkeeper, check_settings
from runnerd.server.conversations import Conversations
from runnerd.server.drain import Drain
from runnerd.server.forwarded import Proxies
from runnerd.server.head import Head
from runnerd.server.lazy import LazyHttp
from runnerd.server.listener import Listener, Settings
from runnerd.server.notify import feed_watchdog, notify, reloading, show_status, stopping
from runnerd.server.origin import Gate
from runnerd.server.preview import Previews
from runnerd.server.site import Site
from runnerd.server.translate import run_of
from runnerd.server.websocket import Keepalive
from runnerd.session.registry import Registry
from runnerd.session.session import Stay

if TYPE_CHECKING:
    from runnerd.store.database import Store

log = logging.getLogger("runnerd.server")

LimitsWish = Literal["cgroup", "best-effort", "auto"]

ReadConfig = Callable[[], Config]
"""Reads the settings again. Raises ConfigError."""

MakeRegistry = Callable[[Host, toolchains.Toolchains, Config, trio.Nursery], Registry]

STAY = Stay(hold=5.0, detach=math.inf, linger=60.0)
"""Of sessions that are made by one request and watched by others."""

FLUSH = 3.0
"""Seconds that connections have, after the last session ended, to take what they were sent."""

FIXED = ("listen", "state_dir", "store", "node", "backend", "bubblewrap", "nsjail", "uids")
"""Settings that a running daemon cannot change."""

WAITING_BOXES = 64
"""Boxes that may wait in the pool, as far as descriptors are reckoned."""

PER_BOX = 16
RESERVE = 64
"""Descriptors that one box, and the daemon itself, may need at most."""


def run_daemon(config: Config, limits: LimitsWish, read: ReadConfig) -> None:
    """Serve until SIGTERM or SIGINT; a second one ends at once. Call from the main thread of a fresh process.

    `read` gives the settings anew at each SIGHUP.

    Raises SetupError or ConfigError for what keeps the daemon from starting.
    """
    begun = time.monotonic()
    where, sockets = address.parse(config.listen), activation.inherited()
    passed = [activation.address_of(each) for each in sockets]
    # Of several passed sockets, one that others than this machine can reach.
    where, wanted = min(passed, key=lambda place: place.loopback, default=where), where
    check_settings(config.auth, str(where), loopback=where.loopback)
    prepare_process()
    if passed and wanted not in passed:
        shown = " ".join(map(str, passed))
        log.warning("the service manager holds the port: `listen` is not used", extra={"listen": wanted, "port": shown})
    with ExitStack() as stack:
        if not sockets:
            sockets = address.listen(where)
            stack.callback(address.close, where, sockets)
            where = address.bound(where, sockets)
        host = stack.enter_context(open_host(config, limits=limits, state_dir=config.state))
        daemon = Daemon(config, host, toolchains.load(), stack, loopback=where.loopback, read=read)
        trio.run(daemon.run, where, sockets, begun)


def prepare_process() -> None:
    """What belongs to the whole process: its log, its name, and that it inherits what boxes leave."""
    faulthandler.enable()  # the watchdog's SIGABRT tells where the event loop hung
    gc.freeze()  # a full collection stops every terminal: it need not look at modules
    logs.set_up()
    slices.take_short()
    prctl.set_name("runnerd")  # pyright: ignore[reportUnknownMemberType, reportAttributeAccessIssue]
    prctl.set_child_subreaper(1)  # pyright: ignore[reportUnknownMemberType, reportAttributeAccessIssue]


def make_registry(host: Host, languages: toolchains.Toolchains, config: Config, nursery: trio.Nursery) -> Registry:
    """Sessions of a daemon, which lets nobody in while the host is under pressure."""
    boxes = config.boxes
    pressed = Pressure(sources(host.tree, boxes.pressure_memory, boxes.pressure_cpu))
    pool = Pool(host, config.pool, pressed)
    nursery.start_soon(pool.run)
    return Registry(host, languages, config, nursery, pressed=pressed, pool=pool)


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
        read: ReadConfig,
        make_registry: MakeRegistry = make_registry,
    ) -> None:
        self._make_registry = make_registry
        self._read = read
        self._loopback = loopback
        self._config = config
        self._host = host
        self._toolchains = languages
        self._accounts = Accounts(self._open_store)
        stack.callback(self._accounts.close)
        self._doorkeeper = Doorkeeper(self._accounts, config.auth)
        self._assets = assets.load(folder("web"))
        self._drain = Drain(config.drain.seconds)
        self._guard()

    def _guard(self) -> None:
        """Who may connect, by the settings as they are now."""
        http = self._config.http
        self._gate = Gate(http.origins, http.hosts, loopback=self._loopback)
        self._proxies = Proxies(http.trusted_proxies)

    async def run(self, where: address.Address, sockets: list[socket.socket], begun: float) -> None:
        """Serve on `sockets` until a signal comes and the sessions are over. `begun`: when the start began."""
        with trio.open_signal_receiver(signal.SIGTERM, signal.SIGINT) as signals:
            async with trio.open_nursery() as nursery:
                self._registry = self._make_registry(self._host, self._toolchains, self._config, nursery)
                self._admission = Admission(
                    self._registry, self._toolchains, self._doorkeeper, self._accounts, self._config, nursery
                )
                self._previews = Previews(
                    lambda: self._registry.spaces, self._config.preview, self._gate, self._proxies
                )
                self._conversations = Conversations(
                    self._admission, self._doorkeeper, self._drain, self._keepalive, self._previews
                )
                self._http = LazyHttp(
                    self._site(), head_size=self._config.http.head_size, elsewhere=self._previews.claims
                )
                self._listener = Listener(
                    self._settings(),
                    self._gate,
                    self._http,
                    self._conversations.by_path(),
                    self._proxies,
                    self._previews,
                )
                nursery.start_soon(orphans.reap)
                nursery.start_soon(self._doorkeeper.revocations.run)
                nursery.start_soon(feed_watchdog)
                nursery.start_soon(show_status, self._status)
                nursery.start_soon(admin.serve_admin, self._config.state, partial(admin.overview, self._registry))
                async with trio.open_nursery() as connections:
                    accepting = trio.CancelScope()
                    nursery.start_soon(self._accept, accepting, sockets, connections)
                    await nursery.start(self._reload_when_told)
                    self._say_ready(where, begun)
                    nursery.start_soon(self._http.load_soon)
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
            why = f": {self._host.weaker}" if self._host.weaker else ""
            log.warning("limits: best-effort (rlimits and a watcher stand in for cgroup v2)%s", why)
        else:
            log.info("limits: %s", mode)
        if self._doorkeeper.open:
            log.warning("auth: open (whoever can connect may run programs, without a key)")
        else:
            log.info("auth: keys (runnerd keys create makes one)")
        for language in self._toolchains.all():
            if language.raises:
                log.info("limits are raised", extra={"language": language.id, **language.raises})
        took = round((time.monotonic() - begun) * 1000)
        log.info("listening on %s", shown, extra={"milliseconds": took})
        notify(f"READY=1\nSTATUS=listening on {shown}, limits: {mode}")

    async def _reload_when_told(self, task_status: trio.TaskStatus[None]) -> None:
        with trio.open_signal_receiver(signal.SIGHUP) as signals:
            task_status.started()
            async for _ in signals:
                reloading()
                self._reload()
                notify("READY=1")

    def _reload(self) -> None:
        """Read the settings again; new connections and sessions get them. A wrong file changes nothing."""
        old = self._config
        try:
            new = self._read()
            check_settings(new.auth, new.listen, loopback=self._loopback)
        except ConfigError as problem:
            told = {"problem": problem.message, "hint": problem.hint}
            log.error("the configuration is wrong, and the old one stays", extra=told)
            return
        for name in FIXED:
            if getattr(new, name) != getattr(old, name):
                log.warning("this setting changes with a restart only", extra={"setting": name})
        self._config = msgspec.structs.replace(new, **{name: getattr(old, name) for name in FIXED})
        self._drain.seconds = self._config.drain.seconds
        self._guard()
        self._doorkeeper.adopt(self._config.auth)
        self._registry.adopt(self._config)
        self._admission.adopt(self._config)
        self._http.adopt(self._site(), head_size=self._config.http.head_size)
        self._previews.adopt(self._config.preview, self._gate, self._proxies)
        self._listener.adopt(self._settings(), self._gate, self._proxies)
        log.info("the configuration was read again")

    def _status(self) -> str:
        status = self._registry.status()
        return f"{status.boxes} boxes, {sum(status.ended.values())} served"

    async def _stop(self, received: signal.Signals, signals: AsyncIterator[int]) -> None:
        """Tell clients, then wait for the sessions: until the deadline, or until a second signal."""
        log.info("stopping", extra={"signal": received.name, "deadline": f"{self._drain.seconds:g}s"})
        stopping(self._drain.seconds + 3 * FLUSH)
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

    def _keepalive(self) -> Keepalive:
        http = self._config.http
        return Keepalive(http.ping_interval, http.pong_deadline, http.message_size)

    async def _create_session(self, head: Head, asked: Asked, start: Start) -> str:
        key = self._doorkeeper.key_in(head)
        known = None if key is None else await self._doorkeeper.check(key)
        client = Client(known, asked.address)
        session = await self._admission.start(client, run_of(start), profile=start.profile, stay=STAY)
        return session.id

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
            connections=min(http.connections, _room_for_connections(self._config.boxes.max + WAITING_BOXES)),
            head_timeout=http.head_timeout,
            head_size=http.head_size,
            send_deadline=http.send_deadline,
            proxy_protocol=http.proxy_protocol,
        )

    def _site(self) -> Site:
        return Site(
            gate=self._gate,
            assets=self._assets,
            limits=self._host.limits_mode,
            languages=lambda: overview.languages(self._toolchains),
            metrics=lambda: overview.metrics(self._registry.status(), self._registry.spaces, self._listener),
            full=self._refuse_when_full,
            draining=self._drain.begun.is_set,
            converse=self._conversations.once,
            create_session=self._create_session,
            kill_session=lambda session_id: self._registry.find(session_id).kill("its client ended it"),
            find_space=self._registry.find_space,
            auth=self._config.auth.mode,
            body_size=self._config.http.message_size,
            body_timeout=self._config.http.body_timeout,
            proxies=self._proxies,
        )

    def _refuse_when_full(self) -> None:
        status, boxes = self._registry.status(), self._config.boxes
        if status.boxes >= boxes.max and status.queued >= boxes.queue:
            raise Busy("every box is taken, and the queue is full", retry_after=boxes.queue_wait)


def _room_for_connections(boxes: int) -> int:
    """Raise the soft limit of descriptors to the hard one; how many connections fit beside the boxes."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return max(16, hard - RESERVE - PER_BOX * boxes)
