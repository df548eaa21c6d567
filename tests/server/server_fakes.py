"""A registry without boxes, and a daemon that serves it on a free port of 127.0.0.1."""

import hashlib
import json
import struct
import time
from collections.abc import AsyncIterator, Callable
from contextlib import ExitStack, asynccontextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import msgspec
import trio
from trio_websocket import WebSocketConnection, open_websocket_url

from runnerd.config import Config, Profile, parse
from runnerd.errors import BadRequest, Busy, NotFound, OutOfCredits, Unauthorized, UnknownLanguage
from runnerd.sandbox.spec import BoxSpec, Outcome, Usage, Window
from runnerd.server import address
from runnerd.server.accounts import Accounts
from runnerd.server.daemon import Daemon
from runnerd.session.kernel import Kernels
from runnerd.session.run import Run
from runnerd.session.session import Stay
from runnerd.session.space import Space
from runnerd.session.viewer import Ended, Feed, Started, Viewer
from runnerd.store import Debit, Rules, StoredKey
from runnerd.toolchains import Toolchains
from tests.session.fake_tree import TreeBox

HEAD = struct.Struct(">BIQ")


class FakeSession:
    """Echoes its input like a terminal when `echo`; ends when a test or a client says so."""

    def __init__(self, run: Run, id: str = "n1-fake0") -> None:
        self.id = id
        self.run = run
        self.feed = Feed(2**62, lambda: None, lambda: None)
        self.echo = True
        self.input = b""
        self.closed_input = False
        self.windows: list[Window] = []
        self.signals: list[str] = []
        self.may_signal = trio.Event()
        self.may_signal.set()
        self.failure: Exception | None = None
        self.ended: Ended | None = None
        self.started: Started | None = None
        self.over = trio.Event()
        self.killed = trio.Event()

    def viewer(self, offset: int = 0) -> Viewer:
        return self.feed.viewer(offset)

    async def write(self, data: bytes, reader: Viewer | None = None) -> None:
        if self.failure is not None:
            raise self.failure
        if self.closed_input:
            raise BadRequest("the program's input has been closed", code="input_closed")
        self.input += data
        if self.echo:
            self.feed.append("stdout", data, reader)

    def close_input(self) -> None:
        self.closed_input = True

    def resize(self, window: Window) -> None:
        self.windows.append(window)

    async def signal(self, name: str) -> None:
        await self.may_signal.wait()
        self.signals.append(name)

    def kill(self, message: str = "") -> None:
        self.killed.set()
        self.end(Outcome.KILLED, code=None)

    def end(self, outcome: Outcome = Outcome.EXITED, code: int | None = 0) -> None:
        if self.ended is None:
            self.ended = Ended(outcome, code, None, "", Usage(0.5, 1024, 2.0), {"end": 1.0})
            self.feed.mark(self.ended)
            self.over.set()


class FakeRegistry:
    """Stands where the daemon makes its registry; `started` are all sessions, oldest first."""

    latest: "FakeRegistry"

    def __init__(self, host: Any, toolchains: Any, config: Any, nursery: trio.Nursery) -> None:
        type(self).latest = self
        self.config: Config = config
        self.started: list[FakeSession] = []
        self.asked = 0
        self.owners: list[str | None] = []
        self.may_start = trio.Event()
        self.may_start.set()
        self.failure: Exception | None = None
        self.draining = False
        self.full = False
        self.box_starts = True
        self.cancelled = 0
        self.nursery: trio.Nursery = nursery
        self.spaces: list[Space] = []
        self.boxes: list[TreeBox] = []

    def adopt(self, config: Config) -> None:
        self.config = config

    def profile(self, name: str) -> Profile:
        return self.config.profiles[name]

    def find(self, session_id: str) -> FakeSession:
        for session in self.started:
            if session.id == session_id:
                return session
        raise NotFound("there is no such session")

    def new_id(self) -> str:
        return f"n1-fake{len(self.started) + len(self.spaces)}"

    async def start(
        self,
        run: Run,
        *,
        profile: str = "default",
        session_id: str | None = None,
        stay: Stay | None = None,
        kernels: Kernels | None = None,
        owner: str | None = None,
    ) -> FakeSession:
        self.asked += 1
        self.owners.append(owner)
        if self.failure is not None:
            raise self.failure
        if self.draining:
            raise Busy("the daemon is stopping", retry_after=3)
        if run.language != "echo":
            raise UnknownLanguage(f"unknown language {run.language!r}", hint="known languages: echo")
        try:
            await self.may_start.wait()
        except trio.Cancelled:
            self.cancelled += 1
            raise
        session = FakeSession(run, session_id or self.new_id())
        self.started.append(session)
        if self.box_starts:
            session.started = Started(session.id, run.language, run.mode, {"box": 1.0})
            session.feed.start(session.started)
        return session

    async def open_space(self, space_id: str, *, profile: str, owner: str | None) -> Space:
        if self.failure is not None:
            raise self.failure
        if self.draining:
            raise Busy("the daemon is stopping", retry_after=3)
        box = TreeBox()
        self.boxes.append(box)
        opening: Any = box.live
        space = Space(space_id, opening, BoxSpec(), self.config.spaces, owner, {})
        self.spaces.append(space)
        self.nursery.start_soon(space.serve)
        await space.up()
        return space

    def find_space(self, key: str) -> Space:
        for space in self.spaces:
            if space.opens(key):
                return space
        raise NotFound("the join key opens no space")

    def status(self) -> Any:
        living = sum(each.ended is None for each in self.started)
        boxes = self.config.boxes
        return SimpleNamespace(
            boxes=boxes.max if self.full else living,
            boxes_max=boxes.max,
            queued=boxes.queue if self.full else 0,
            started=len(self.started),
            ended={"exited": len(self.started) - living},
            draining=self.draining,
            spared=0,
            compiled=0,
            stocks=(),
        )

    async def drain(self, deadline: float) -> None:
        self.draining = True
        with trio.move_on_after(deadline):
            await until(lambda: all(each.ended is not None for each in self.started))
        for each in (*self.started, *self.spaces):
            each.kill("the daemon stops")


class FakeStore:
    """Knows some secrets, each its own public key and digest, until a test revokes them; keeps a ledger."""

    def __init__(self, *secrets: str, rules: Rules | None = None, credits: int = 10) -> None:
        self.secrets = secrets or ("right",)
        self.rules = rules or Rules()
        self.credits = credits
        self.revoked: set[str] = set()
        self.debits: list[tuple[int, str, str]] = []
        self.refunded: list[int] = []
        self.looks = 0

    def verify(self, key: str) -> StoredKey:
        if key not in self.secrets or key in self.revoked:
            raise Unauthorized("the key is not known")
        return self.key(key)

    def key(self, public_key: str) -> StoredKey:
        if public_key not in self.secrets:
            raise NotFound("there is no such key")
        revoked = public_key in self.revoked
        return StoredKey(public_key, self.credits, "", 0.0, revoked, self.rules, digest_of(public_key))

    def valid(self, digests: set[bytes]) -> set[bytes]:
        self.looks += 1
        return digests & {digest_of(secret) for secret in self.secrets if secret not in self.revoked}

    def debit(self, public_key: str, credits: int, reason: str, subject: str = "") -> Debit:
        if self.credits < credits:
            raise OutOfCredits("too few")
        self.credits -= credits
        self.debits.append((credits, reason, subject))
        return Debit(len(self.debits), credits, self.credits)

    def refund(self, debit: int) -> bool:
        self.refunded.append(debit)
        self.credits += self.debits[debit - 1][0]
        return True

    def close(self) -> None:
        pass


def digest_of(secret: str) -> bytes:
    return hashlib.sha256(secret.encode()).digest()


class InlineAccounts(Accounts):
    """Asks in the caller's task: a clock of tests that jumps does not wait for threads."""

    async def ask(self, question: Any) -> Any:
        await trio.lowlevel.checkpoint_if_cancelled()
        return self._ask(question)


def accounts_of(store: Any) -> Accounts:
    return InlineAccounts(lambda: store)


class Served:
    """A daemon of fakes. `url` is http://127.0.0.1:PORT; `stopped` is set when its run has ended."""

    def __init__(self, port: int, daemon: Daemon | None = None) -> None:
        self.port, self.daemon = port, daemon
        self.url = f"http://127.0.0.1:{port}"
        self.stopped = trio.Event()

    @property
    def registry(self) -> FakeRegistry:
        return FakeRegistry.latest

    async def connect(self) -> trio.SocketStream:
        return await trio.open_tcp_stream("127.0.0.1", self.port)

    async def ask(self, data: bytes) -> bytes:
        """Send bytes; everything that comes back until the connection closes."""
        stream = await self.connect()
        async with stream:
            await stream.send_all(data)
            return await read_all(stream)

    @asynccontextmanager
    async def terminal(self, **options: Any) -> AsyncIterator["Client"]:
        options.setdefault("subprotocols", ["runnerd.v1"])
        async with open_websocket_url(f"ws://127.0.0.1:{self.port}/api/v1/terminal", **options) as connection:
            try:
                yield Client(connection)
            finally:
                # The library leaves its socket open when the server closed first.
                await connection._stream.aclose()


class Client:
    """Speaks runnerd.v1."""

    def __init__(self, connection: WebSocketConnection) -> None:
        self.connection = connection

    async def send(self, type: str, **fields: Any) -> None:
        await self.connection.send_message(json.dumps({"type": type, **fields}))

    async def start(self, stream: int = 1, **fields: Any) -> None:
        await self.send("start", stream=stream, **{"language": "echo", "code": "", **fields})
        assert (await self.receive("started"))["stream"] == stream

    async def type(self, data: bytes, stream: int = 1) -> None:
        await self.connection.send_message(struct.pack(">BI", 0, stream) + data)

    async def receive(self, type: str) -> dict[str, Any]:
        """The next text frame, which must be of `type`."""
        message = await self.connection.get_message()
        assert isinstance(message, str)
        fields = json.loads(message)
        assert fields["type"] == type, fields
        return fields

    async def output(self) -> bytes:
        message = await self.connection.get_message()
        assert isinstance(message, bytes), message
        return message[HEAD.size :]


@asynccontextmanager
async def serve(state: Path, settings: dict[str, Any] | None = None, *, loopback: bool = True) -> AsyncIterator[Served]:
    """The real daemon's wiring around FakeRegistry, on a free port. SIGHUP has it take `settings` as they are then."""
    given: dict[str, Any] = {} if settings is None else settings

    def read() -> Config:
        return msgspec.structs.replace(parse({"auth": {"mode": "open"}, **given}), state_dir=str(state))

    where = address.TcpAddress("127.0.0.1", 0)
    sockets = address.listen(where)
    host: Any = SimpleNamespace(limits_mode="best-effort", weaker="")
    make: Any = FakeRegistry
    with ExitStack() as stack:
        daemon = Daemon(read(), host, Toolchains({}, {}), stack, loopback=loopback, read=read, make_registry=make)
        bound = address.bound(where, sockets)
        assert isinstance(bound, address.TcpAddress)
        served = Served(bound.port, daemon)

        async def run() -> None:
            await daemon.run(bound, sockets, time.monotonic())
            served.stopped.set()

        async with trio.open_nursery() as nursery:
            nursery.start_soon(run)
            yield served
            nursery.cancel_scope.cancel()


async def until(condition: Callable[[], bool]) -> None:
    """Wait for what other tasks do."""
    while not condition():
        await trio.sleep(0.005)


async def read_all(stream: trio.abc.ReceiveStream) -> bytes:
    data = bytearray()
    try:
        async for chunk in stream:
            data += chunk
    except trio.BrokenResourceError:
        return bytes(data)
    return bytes(data)
