"""Conversations over a transport in memory, against a registry without boxes."""

import logging
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any, Literal

import pytest
import trio
import trio.testing
from server_fakes import FakeRegistry, FakeSession, FakeStore, accounts_of
from trio.testing import MockClock

from runnerd.config import Auth, Config
from runnerd.errors import BadRequest, SetupError
from runnerd.protocols import (
    Attach,
    Authenticate,
    CloseInput,
    Command,
    Draining,
    Ended,
    Event,
    Failed,
    Frame,
    Input,
    Kill,
    Output,
    Ping,
    Pong,
    Resize,
    Signal,
    Start,
    Started,
    StateChanged,
)
from runnerd.sandbox.spec import Outcome, Window
from runnerd.server.admission import Admission
from runnerd.server.auth import Doorkeeper
from runnerd.server.conversation import EARLY_INPUT, SIGNALS, Conversation
from runnerd.server.drain import Drain
from runnerd.server.outbox import LATE
from runnerd.server.revocations import INTERVAL
from runnerd.server.translate import run_of
from runnerd.session import viewer
from runnerd.session.viewer import StateChange
from runnerd.store import StoredKey
from runnerd.toolchains import Toolchains

START = Start(1, "echo")


class PlainAdapter:
    """Frames are numbers into tables of values, so that tests speak in commands and events."""

    def __init__(self) -> None:
        self.commands: dict[str, Sequence[Command]] = {}
        self.events: dict[str, Event] = {}

    def receive(self, frame: Frame) -> tuple[Sequence[Command], Sequence[Frame]]:
        return self.commands.pop(str(frame)), []

    def send(self, *events: Event) -> Sequence[Frame]:
        names = [str(len(self.events) + index) for index in range(len(events))]
        self.events.update(zip(names, events, strict=True))
        return names


class MemoryTransport:
    def __init__(self, adapter: PlainAdapter) -> None:
        self._adapter = adapter
        self._in, self._out = trio.open_memory_channel[Frame | None](1000)
        self._sent = 0
        self._waiting: deque[Event] = deque()
        self._order = trio.StrictFIFOLock()
        self.told = trio.Event()
        self.may_send = trio.Event()
        self.may_send.set()
        self.closed: tuple[int, str] | None = None

    async def listen(self, hear: Callable[[Frame], Awaitable[bool]]) -> None:
        while (frame := await self._out.receive()) is not None:
            if not await hear(frame):
                return

    async def send(self, frame: Frame) -> None:
        async with self._order:
            await self.may_send.wait()
            self._waiting.append(self._adapter.events[str(frame)])
            self.told.set()

    async def room(self) -> None:
        await self.may_send.wait()

    async def close(self, code: int, reason: str) -> None:
        self.closed = self.closed or (code, reason)
        self.vanish()

    def vanish(self) -> None:
        self._in.send_nowait(None)

    def ask(self, *commands: Command) -> None:
        self._sent += 1
        self._adapter.commands[str(self._sent)] = commands
        self._in.send_nowait(str(self._sent))

    async def hear(self) -> Event:
        while not self._waiting:
            self.told = trio.Event()
            await self.told.wait()
        return self._waiting.popleft()

    def heard(self) -> list[Event]:
        events = list(self._waiting)
        self._waiting.clear()
        return events

    async def failed(self) -> Failed:
        event = await self.hear()
        assert isinstance(event, Failed), event
        return event

    async def started(self) -> Started:
        event = await self.hear()
        assert isinstance(event, Started), event
        return event


class Talk:
    """One conversation under way; `over` is set when it has ended."""

    def __init__(self, transport: MemoryTransport, registry: FakeRegistry, drain: Drain) -> None:
        self.transport = transport
        self.registry = registry
        self.drain = drain
        self.over = trio.Event()

    @property
    def session(self) -> FakeSession:
        return self.registry.started[-1]


@asynccontextmanager
async def talking(
    *,
    key: str | None = None,
    mode: Literal["keys", "open"] = "open",
    store: FakeStore | None = None,
    watched: FakeSession | None = None,
    attach: Attach | None = None,
) -> AsyncIterator[Talk]:
    """`watched` is a session that was made before; `attach` comes to watch one."""
    adapter = PlainAdapter()
    async with trio.open_nursery() as nursery:
        config = Config(auth=Auth(mode=mode))
        registry: Any = FakeRegistry(None, None, config, nursery)
        talk = Talk(MemoryTransport(adapter), registry, Drain(7))
        if watched is not None:
            registry.started.append(watched)
        accounts = accounts_of(store or FakeStore())
        doorkeeper = Doorkeeper(accounts, config.auth)
        nursery.start_soon(doorkeeper.revocations.run)
        admission = Admission(registry, Toolchains({}, {}), doorkeeper, accounts, config, nursery)
        conversation = Conversation(
            talk.transport, adapter, admission, doorkeeper, talk.drain, "192.0.2.1", key, attach, attach is not None
        )

        async def run() -> None:
            await conversation.run()
            talk.over.set()

        nursery.start_soon(run)
        yield talk
        talk.transport.vanish()
        await talk.over.wait()
        assert all(session.killed.is_set() for session in talk.registry.started if session is not watched)
        assert not any(session.feed.viewers for session in talk.registry.started)
        nursery.cancel_scope.cancel()


async def test_a_program_from_its_start_to_its_end() -> None:
    async with talking() as talk:
        start = Start(
            4,
            "echo",
            {"a.py": b"x"},
            "a.py",
            ("1",),
            None,
            {"A": "b"},
            "split",
            30,
            90,
            b"in",
            {"cpu": 1},
        )
        talk.transport.ask(start)
        assert await talk.transport.hear() == Started(4, "n1-fake0", "echo", "split", {"box": 1.0})
        run = talk.session.run
        assert (run.files, run.main, run.args, run.env) == ({"a.py": b"x"}, "a.py", ("1",), {"A": "b"})
        assert (run.mode, run.window, run.stdin, run.limits) == ("split", Window(30, 90), b"in", {"cpu": 1})
        talk.session.feed.append("stderr", b"oops")
        assert await talk.transport.hear() == Output(4, "stderr", 0, b"oops")
        talk.session.feed.mark(StateChange("waiting"))
        assert await talk.transport.hear() == StateChanged(4, "waiting")
        talk.session.end(Outcome.EXITED, 3)
        assert await talk.transport.hear() == Ended(4, "exited", 3, None, "", 0.5, 1024, 2.0, {"end": 1.0})


async def test_commands_reach_their_program_in_order() -> None:
    async with talking() as talk:
        talk.transport.ask(START)
        await talk.transport.started()
        talk.transport.ask(Input(1, b"a"), Resize(1, 5, 6), CloseInput(1), Signal(1, "INT"), Ping("p"))
        assert await talk.transport.hear() == Output(1, "stdout", 0, b"a")
        pong = await talk.transport.hear()
        assert isinstance(pong, Pong)
        assert (pong.id, pong.time > 1e9) == ("p", True)
        await trio.testing.wait_all_tasks_blocked()
        session = talk.session
        assert (session.input, session.windows, session.closed_input) == (b"a", [Window(5, 6)], True)
        assert session.signals == ["INT"]
        talk.transport.ask(Kill(1))
        ended = await talk.transport.hear()
        assert isinstance(ended, Ended)
        assert ended.outcome == "killed"


async def test_an_echo_is_sent_before_the_next_command_is_read() -> None:
    async with talking() as talk:
        talk.transport.ask(START)
        await talk.transport.started()
        talk.transport.ask(Input(1, b"k"), Ping(1))
        assert await talk.transport.hear() == Output(1, "stdout", 0, b"k")
        assert isinstance(await talk.transport.hear(), Pong)


async def test_output_that_comes_beside_an_echo_is_not_forgotten() -> None:
    async with talking() as talk:
        talk.transport.ask(START)
        await talk.transport.started()
        feed = talk.session.feed
        for name in ("stdout", "stderr", "stdout"):
            feed.append(name, name.encode(), feed.viewers[0])  # nobody was woken for these
        talk.transport.ask(Input(1, b"k"))
        outputs = [await talk.transport.hear() for _ in range(3)]
        text = b"".join(event.data for event in outputs if isinstance(event, Output))
        assert text == b"stdoutstderrstdoutk"


async def test_the_end_is_told_once_even_when_an_input_finds_it() -> None:
    async with talking() as talk:
        talk.transport.ask(START)
        await talk.transport.started()
        session = talk.session
        session.echo = False
        talk.transport.ask(Input(1, b"k"))
        session.end()
        assert isinstance(await talk.transport.hear(), Ended)
        talk.transport.ask(START)
        await talk.transport.started()
        assert talk.transport.heard() == []


async def test_input_before_the_program_exists_is_kept_for_it() -> None:
    async with talking() as talk:
        talk.registry.may_start = trio.Event()
        talk.transport.ask(START, Input(1, b"early"), Resize(1, 9, 9), CloseInput(1), Ping(1))
        assert isinstance(await talk.transport.hear(), Pong)
        talk.registry.may_start.set()
        await talk.transport.started()
        await trio.testing.wait_all_tasks_blocked()
        assert talk.session.input == b"early"
        assert talk.session.windows == [Window(9, 9)]
        assert talk.session.closed_input


async def test_too_much_early_input_is_refused() -> None:
    async with talking() as talk:
        talk.registry.may_start = trio.Event()
        talk.transport.ask(START, Input(1, b"x" * EARLY_INPUT), Input(1, b"y"))
        event = await talk.transport.failed()
        assert (event.stream, event.error.code, event.over) == (1, "too_large", False)
        talk.registry.may_start.set()
        await talk.transport.started()
        await trio.testing.wait_all_tasks_blocked()
        assert talk.session.input == b"x" * EARLY_INPUT


EOF, KEYS, SIZE, INT = CloseInput(1), Input(1, b"k"), Resize(1, 9, 9), Signal(1, "INT")


@pytest.mark.parametrize(
    ("early", "codes", "typed"),
    [
        ((EOF, KEYS), ["input_closed"], b""),
        ((EOF, KEYS, SIZE, KEYS), ["input_closed", "input_closed"], b""),
        ((KEYS, EOF, SIZE, KEYS), ["input_closed"], b"k"),
        ((EOF, KEYS, INT), ["input_closed"], b""),
        ((INT,) * (SIGNALS + 2), ["busy", "busy"], b""),
        ((*(INT,) * (SIGNALS + 1), KEYS, EOF, KEYS), ["busy", "input_closed"], b"k"),
        ((EOF, *(KEYS,) * (LATE + 9)), ["input_closed"] * LATE, b""),
    ],
)
async def test_an_early_command_that_is_refused_leaves_the_program_alone(
    early: tuple[Command, ...], codes: list[str], typed: bytes
) -> None:
    """And is told after `started`: before, an error would mean that there is no program."""
    async with talking() as talk:
        talk.registry.may_start, talk.registry.box_starts = trio.Event(), False
        talk.transport.ask(START, *early, Ping(1))
        assert isinstance(await talk.transport.hear(), Pong)
        talk.registry.may_start.set()
        await trio.testing.wait_all_tasks_blocked()
        session = talk.session
        told = [event for event in talk.transport.heard() if not isinstance(event, Output)]
        assert told == []
        talk.transport.ask(KEYS) if EOF in early else None
        await trio.testing.wait_all_tasks_blocked()
        session.feed.start(viewer.Started(session.id, "echo", "terminal", {}))
        await trio.testing.wait_all_tasks_blocked()
        events = talk.transport.heard()
        refused = [event for event in events if isinstance(event, Failed)]
        assert isinstance(events[0], Started)
        more = ["input_closed"] if EOF in early and len(codes) < LATE else []
        assert [event.error.code for event in refused] == codes + more
        assert not any(event.over for event in refused)
        assert session.input == typed
        assert not session.killed.is_set()
        talk.transport.ask(Resize(1, 5, 5))
        await trio.testing.wait_all_tasks_blocked()
        assert session.windows[-1] == Window(5, 5)
        session.end()
        assert isinstance(await talk.transport.hear(), Ended)


async def test_a_refused_command_of_a_program_that_never_starts_is_not_told() -> None:
    async with talking() as talk:
        talk.registry.may_start = trio.Event()
        talk.registry.box_starts = False
        talk.transport.ask(START, EOF, KEYS)
        await trio.testing.wait_all_tasks_blocked()
        talk.registry.may_start.set()
        await trio.testing.wait_all_tasks_blocked()
        talk.session.end(Outcome.FAILED)
        assert isinstance(await talk.transport.hear(), Ended)
        assert talk.transport.heard() == []


async def test_a_kill_ends_a_start_that_waits() -> None:
    async with talking() as talk:
        talk.registry.may_start = trio.Event()
        talk.transport.ask(START, Kill(1))
        ended = await talk.transport.hear()
        assert isinstance(ended, Ended)
        assert ended.outcome == "killed"
        assert talk.registry.cancelled == 1
        talk.registry.may_start.set()
        talk.transport.ask(START)
        await talk.transport.started()


async def test_streams_are_apart() -> None:
    async with talking() as talk:
        talk.transport.ask(START, Start(2, "echo"))
        assert {(await talk.transport.started()).stream for _ in range(2)} == {1, 2}
        talk.transport.ask(Input(1, b"one"))
        assert await talk.transport.hear() == Output(1, "stdout", 0, b"one")
        talk.transport.ask(Input(2, b"two"))
        assert await talk.transport.hear() == Output(2, "stdout", 0, b"two")


@pytest.mark.parametrize(
    "command",
    [Input(9, b""), CloseInput(9), Resize(9, 1, 1), Signal(9, "INT"), Kill(9)],
    ids=lambda c: type(c).__name__,
)
async def test_a_stream_that_never_was_is_an_error(command: Command) -> None:
    async with talking() as talk:
        talk.transport.ask(command)
        event = await talk.transport.failed()
        assert (event.stream, event.error.code) == (9, "not_found")


async def test_what_comes_too_late_is_ignored_and_the_number_free_again() -> None:
    async with talking() as talk:
        talk.transport.ask(START)
        await talk.transport.started()
        talk.session.end()
        assert isinstance(await talk.transport.hear(), Ended)
        talk.transport.ask(Input(1, b"late"), Kill(1), Ping(1))
        assert isinstance(await talk.transport.hear(), Pong)
        talk.transport.ask(START)
        await talk.transport.started()


async def test_the_number_is_free_before_its_end_is_told() -> None:
    """A client that hears of the end may start again before our send has returned."""
    async with talking() as talk:
        talk.transport.ask(START)
        await talk.transport.started()
        talk.transport.may_send = trio.Event()
        talk.session.end()
        await trio.testing.wait_all_tasks_blocked()
        talk.transport.ask(START)
        await trio.testing.wait_all_tasks_blocked()
        talk.transport.may_send.set()
        assert isinstance(await talk.transport.hear(), Ended)
        await talk.transport.started()


async def test_a_number_in_use_is_refused_and_its_program_goes_on() -> None:
    async with talking() as talk:
        talk.transport.ask(START, START)
        first, second = await talk.transport.hear(), await talk.transport.hear()
        failed = first if isinstance(first, Failed) else second
        assert isinstance(failed, Failed)
        assert "has a program already" in failed.error.message
        talk.transport.ask(Input(1, b"on"))
        assert isinstance(await talk.transport.hear(), Output)


async def test_programs_of_one_connection_are_counted() -> None:
    async with talking() as talk:
        most = Config().profiles["default"].runs
        talk.transport.ask(*(Start(number, "echo") for number in range(most + 1)))
        events = [await talk.transport.hear() for _ in range(most + 1)]
        assert [event.stream for event in events if isinstance(event, Failed)] == [most]
        assert sum(isinstance(event, Started) for event in events) == most


async def test_a_refused_start_frees_its_stream_before_it_is_told() -> None:
    async with talking() as talk:
        talk.transport.may_send = trio.Event()
        talk.transport.ask(Start(1, "klingon"))
        await trio.testing.wait_all_tasks_blocked()
        talk.transport.ask(START)
        await trio.testing.wait_all_tasks_blocked()
        talk.transport.may_send.set()
        assert (await talk.transport.failed()).error.code == "unknown_language"
        await talk.transport.started()


@pytest.mark.parametrize("where", ["start", "write"])
async def test_an_unexpected_error_is_logged_and_told_by_reference(
    where: str, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(logging.getLogger("runnerd"), "propagate", True)
    async with talking() as talk:
        if where == "start":
            talk.registry.failure = ZeroDivisionError("secret detail")
            talk.transport.ask(START)
        else:
            talk.transport.ask(START)
            await talk.transport.started()
            talk.session.failure = ZeroDivisionError("secret detail")
            talk.transport.ask(Input(1, b"x"))
        error = (await talk.transport.failed()).error
        assert error.code == "internal"
        assert "secret" not in error.message + error.hint
        (entry,) = [entry for entry in caplog.records if hasattr(entry, "reference")]
        assert entry.reference in error.hint  # type: ignore[attr-defined]
        assert entry.exc_info is not None
        talk.transport.ask(Ping(1))
        assert isinstance(await talk.transport.hear(), Pong)


async def test_an_error_of_the_session_is_told_as_it_is() -> None:
    async with talking() as talk:
        talk.transport.ask(START)
        await talk.transport.started()
        talk.session.failure = BadRequest("too much input", code="input_overflow")
        talk.transport.ask(Input(1, b"x"))
        assert (await talk.transport.failed()).error.code == "input_overflow"


async def test_trouble_of_the_host_is_not_told() -> None:
    class Broken(FakeStore):
        def verify(self, key: str) -> StoredKey:
            raise SetupError("opening /secret/place")

    async with talking(key="right", store=Broken()) as talk:
        error = (await talk.transport.failed()).error
        assert "secret" not in error.message + error.hint
        await talk.over.wait()
        assert talk.transport.closed is not None
        assert talk.transport.closed[0] == 1011


async def test_a_slow_client_does_not_keep_its_commands_from_working() -> None:
    async with talking() as talk:
        talk.transport.ask(START)
        await talk.transport.started()
        talk.transport.may_send = trio.Event()
        talk.session.feed.append("stdout", b"flood")
        await trio.testing.wait_all_tasks_blocked()
        talk.transport.ask(Input(1, b"\x03"), Kill(1))
        await talk.session.killed.wait()
        assert talk.session.input == b"\x03"
        talk.transport.may_send.set()
        assert await talk.transport.hear() == Output(1, "stdout", 0, b"flood")
        assert await talk.transport.hear() == Output(1, "stdout", 5, b"\x03")
        assert isinstance(await talk.transport.hear(), Ended)


async def test_a_signal_that_waits_does_not_hold_up_other_commands() -> None:
    async with talking() as talk:
        talk.transport.ask(START)
        await talk.transport.started()
        talk.session.may_signal = trio.Event()
        talk.transport.ask(*[Signal(1, "INT")] * (SIGNALS + 1), Input(1, b"x"))
        assert (await talk.transport.failed()).error.code == "busy"
        assert isinstance(await talk.transport.hear(), Output)
        talk.session.may_signal.set()
        await trio.testing.wait_all_tasks_blocked()
        assert talk.session.signals == ["INT"] * SIGNALS


async def test_a_client_that_vanishes_while_its_start_waits_leaves_nothing() -> None:
    async with talking() as talk:
        talk.registry.may_start = trio.Event()
        talk.transport.ask(START)
        await trio.testing.wait_all_tasks_blocked()
        talk.transport.vanish()
        await talk.over.wait()
        assert talk.registry.cancelled == 1


async def test_a_client_that_vanishes_ends_its_programs() -> None:
    async with talking() as talk:
        talk.transport.ask(START, Start(2, "echo"))
        for _ in range(2):
            await talk.transport.started()
        talk.transport.vanish()
        await talk.over.wait()
        assert all(session.killed.is_set() for session in talk.registry.started)


# --- a session that was made elsewhere --------------------------------------------------------------------------


def watched_session() -> FakeSession:
    session = FakeSession(run_of(START), "n1-watched")
    session.feed.start(viewer.Started(session.id, "echo", "split", {}))
    session.feed.append("stdout", b"before")
    return session


async def test_a_watcher_finds_the_session_with_its_first_command() -> None:
    """Which may be there already when the conversation begins, and stays in its order."""
    for _ in range(20):  # tasks run in no order
        session = watched_session()
        async with talking(watched=session, attach=Attach(0, session.id, 4)) as talk:
            talk.transport.ask(Input(0, b"k"))
            assert isinstance(await talk.transport.hear(), Started)
            text = b""
            while text != b"rek":
                output = await talk.transport.hear()
                assert isinstance(output, Output), output
                assert output.offset == 4 + len(text)
                text += output.data
        assert not session.killed.is_set()


async def test_a_session_that_is_gone_by_then_is_told() -> None:
    async with talking(attach=Attach(0, "n1-gone")) as talk:
        event = await talk.transport.failed()
        assert (event.stream, event.error.code) == (None, "not_found")
        await talk.over.wait()
        assert talk.transport.closed is not None
        assert talk.transport.closed[0] == 4404


async def test_a_watcher_is_told_the_end_that_its_input_brings() -> None:
    class Obedient(FakeSession):
        async def write(self, data: bytes, reader: viewer.Viewer | None = None) -> None:
            await super().write(data, reader)
            self.end()

    for _ in range(20):
        session = Obedient(run_of(START), "n1-watched")
        async with talking(watched=session, attach=Attach(0, session.id)) as talk:
            talk.transport.ask(Input(0, b"k"))
            await talk.over.wait()
            output, ended = talk.transport.heard()
            assert output == Output(0, "stdout", 0, b"k")
            assert isinstance(ended, Ended)


# --- keys ------------------------------------------------------------------------------------------------------


async def test_without_a_key_nothing_starts_where_one_is_needed() -> None:
    async with talking(mode="keys") as talk:
        talk.transport.ask(START)
        event = await talk.transport.failed()
        assert (event.stream, event.error.code) == (1, "unauthorized")
        talk.transport.ask(Authenticate("right"), START)
        await talk.transport.started()


async def test_a_key_of_the_request_counts() -> None:
    async with talking(key="right", mode="keys") as talk:
        talk.transport.ask(START)
        await talk.transport.started()


@pytest.mark.parametrize("by", ["request", "message"])
async def test_a_wrong_key_ends_the_connection(by: str) -> None:
    async with talking(key="wrong" if by == "request" else None) as talk:
        if by == "message":
            talk.transport.ask(Authenticate("wrong"), START)
        event = await talk.transport.failed()
        assert (event.stream, event.error.code) == (None, "unauthorized")
        await talk.over.wait()
        assert talk.transport.closed == (4401, "the key is not known")
        assert talk.registry.asked == 0


async def test_a_revoked_key_ends_the_connection_and_its_programs(autojump_clock: MockClock) -> None:
    store = FakeStore()
    async with talking(key="right", mode="keys", store=store) as talk:
        talk.transport.ask(START)
        await talk.transport.started()
        await trio.sleep(60)
        assert not talk.over.is_set()
        store.revoked.add("right")
        begun = trio.current_time()
        await talk.over.wait()
        assert trio.current_time() - begun <= 2 * INTERVAL
        assert talk.session.killed.is_set()
        told = [event for event in talk.transport.heard() if isinstance(event, Failed)]
        assert [(event.stream, event.error.code) for event in told] == [(None, "unauthorized")]
        assert talk.transport.closed == (4401, "the key was revoked, or has a new secret")


async def test_only_the_last_key_of_a_connection_counts(autojump_clock: MockClock) -> None:
    store = FakeStore("right", "other")
    async with talking(key="right", mode="keys", store=store) as talk:
        talk.transport.ask(Authenticate("other"), START)
        await talk.transport.started()
        store.revoked.add("right")
        await trio.sleep(60)
        talk.transport.ask(Ping(1))
        assert isinstance(await talk.transport.hear(), Pong)
        store.revoked.add("other")
        await talk.over.wait()
        assert talk.transport.closed is not None
        assert talk.transport.closed[0] == 4401


async def test_nobody_looks_for_revoked_keys_while_none_is_in_use(autojump_clock: MockClock) -> None:
    store = FakeStore()
    async with talking(store=store) as talk:
        talk.transport.ask(START)
        await talk.transport.started()
        await trio.sleep(60)
        assert store.looks == 0
        talk.transport.ask(Authenticate("right"))
        await trio.sleep(60)
        assert store.looks > 10


# --- draining --------------------------------------------------------------------------------------------------


async def test_an_idle_client_is_sent_away_when_the_daemon_drains() -> None:
    async with talking() as talk:
        talk.drain.begun.set()
        assert await talk.transport.hear() == Draining(7)
        await talk.over.wait()
        assert talk.transport.closed == (1001, "the daemon stops")


async def test_a_client_with_a_program_stays_until_its_end() -> None:
    async with talking() as talk:
        talk.transport.ask(START)
        await talk.transport.started()
        talk.drain.begun.set()
        assert await talk.transport.hear() == Draining(7)
        talk.transport.ask(Input(1, b"still"))
        assert isinstance(await talk.transport.hear(), Output)
        assert talk.transport.closed is None
        talk.session.end()
        assert isinstance(await talk.transport.hear(), Ended)
        await talk.over.wait()
        assert talk.transport.closed == (1001, "the daemon stops")
