"""Runs one protocol adapter against the registry: the same for every transport.

One task reads the client's frames and carries out its commands in order; one task per stream starts its program and
tells what happens to it. Neither waits for the other, so that Ctrl+C passes a program that reads nothing and a start
that waits in the queue.
"""

import logging
import time
from collections import deque
from typing import TYPE_CHECKING

import trio

from runnerd.errors import BadRequest, Busy, NotFound, RunnerdError, TooLarge, Unauthorized
from runnerd.protocols import (
    Adapter,
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
    Ping,
    Pong,
    Resize,
    Signal,
    Start,
    spaces,
    visits,
)
from runnerd.sandbox.spec import Window
from runnerd.server import logs
from runnerd.server.admission import Admission
from runnerd.server.auth import Client, Doorkeeper
from runnerd.server.drain import Drain
from runnerd.server.outbox import LATE, Outbox, Transport
from runnerd.server.program_stream import ProgramStream, StreamCommand
from runnerd.server.translate import event_of, run_of
from runnerd.server.trouble import told
from runnerd.server.visit import Visit, attached
from runnerd.session.kernel import Kernels
from runnerd.session.output import Chunk as Output
from runnerd.session.terminal import Seat
from runnerd.session.viewer import Ended as Last
from runnerd.session.viewer import Event as Happened
from runnerd.session.viewer import Started as Began
from runnerd.session.viewer import Viewer
from runnerd.store import StoredKey

if TYPE_CHECKING:
    from runnerd.session.session import Session

log = logging.getLogger("runnerd.server.conversation")

EARLY_INPUT = 1024 * 1024
"""Bytes of input that may come before their program has started."""

SIGNALS = 16
"""Signals that may be under way to one program."""

ECHOES = 2
"""Events that are sent from the reader's task after one input: the echo, and what shows that no more has come."""

KEYS = 256
"""Bytes of one input whose echo is sent from the reader's task. More may fill the connection, and a client that writes
much without reading would wait for us as we for it."""

REMEMBERED = 1024
"""Ended streams whose late commands are ignored: the client could not know yet."""


class Conversation:
    """One client at `address`. `key` is what came with the request's head, None when there was none; `attach` is a
    session that it came to watch. `once`: it is about one program, and over with it."""

    def __init__(
        self,
        transport: Transport,
        adapter: Adapter,
        admission: Admission,
        doorkeeper: Doorkeeper,
        drain: Drain,
        address: str,
        key: str | None = None,
        attach: Attach | None = None,
        once: bool = False,
    ) -> None:
        self._transport = transport
        self._outbox = Outbox(transport, adapter)
        self._adapter = adapter
        self._admission = admission
        self._doorkeeper = doorkeeper
        self._drain = drain
        self._key = key
        self._client = Client(None, address)
        self._watching = trio.CancelScope()
        self._kernels = Kernels()
        self._attach = attach
        self._once = once
        self._streams: dict[int, ProgramStream] = {}
        self._ended: deque[int] = deque(maxlen=REMEMBERED)

    async def run(self) -> None:
        """Serve until the client is gone, is sent away, or the daemon has drained. Its programs end with it."""
        async with trio.open_nursery() as self._nursery:
            self._visit = Visit(self._admission, self._outbox, self._nursery)
            try:
                if self._key is None or await self._authenticate(self._key):
                    self._nursery.start_soon(self._tell_of_drain)
                    if self._attach is None or await self._join(self._attach):
                        await self._transport.listen(self._hear)
            finally:
                self._visit.leave()
            self._nursery.cancel_scope.cancel()
        self._kernels.close()

    async def _hear(self, frame: Frame) -> bool:
        """Carry out what one frame asks for; False when the conversation is over."""
        commands, answers = self._adapter.receive(frame)
        for answer in answers:
            await self._outbox.send(answer)
        for command in commands:
            if isinstance(command, Authenticate):
                if not await self._authenticate(command.key):
                    return False
            else:
                await self._obey(command)
        # When nothing came of the only one; otherwise whoever tells the end leaves.
        return not self._once or bool(self._streams or self._ended)

    async def _authenticate(self, key: str) -> bool:
        try:
            known = await self._doorkeeper.check(key)
        except Exception as problem:
            await self._send_away(told(problem))
            return False
        self._identify(known)
        return True

    def _identify(self, key: StoredKey) -> None:
        """The client acts with this key from now on, and until it is revoked."""
        before = self._client.key
        self._client = Client(key, self._client.address)
        if before is None or before.digest != key.digest:
            logs.bind(key=key.public_key)
            self._watching.cancel()
            self._watching = trio.CancelScope()
            self._nursery.start_soon(self._until_revoked, key, self._watching)

    async def _until_revoked(self, key: StoredKey, scope: trio.CancelScope) -> None:
        with scope:
            revoked = trio.Event()
            with self._doorkeeper.revocations.watch(key, revoked.set):
                await revoked.wait()
            await self._send_away(Unauthorized("the key was revoked, or has a new secret"))
            self._nursery.cancel_scope.cancel()

    async def _send_away(self, error: RunnerdError) -> None:
        await self._outbox.tell(Failed(None, error))
        await self._transport.close(error.close, error.message)

    async def _obey(self, command: Command) -> None:
        try:
            match command:
                case Start():
                    stream = self._admit(command.stream, self._admission.profile(command.profile).runs)
                    self._nursery.start_soon(self._program, stream, command)
                case Ping(id):
                    await self._outbox.tell(Pong(id, time.time()))
                case Input() | CloseInput() | Resize() | Signal() | Kill():
                    await self._pass_on(command)
                case visits.OpenTerminal() | visits.AttachTerminal():
                    self._attach_terminal(command)
                case visits.Detach(number):
                    self._detach(number)
                case visits.Enter() | visits.ListTerminals() | visits.CloseTerminal():
                    await self._visit.obey(command, self._client)
                case Authenticate():
                    raise AssertionError("handled by the reader")
        except Exception as problem:
            stream = self._streams.get(getattr(command, "stream", -1))
            if stream is not None:
                await self._refuse(stream, problem)
            else:
                failed = Failed(getattr(command, "stream", None), told(problem), over=True)
                await self._outbox.tell_aside(failed, self._nursery)

    async def _refuse(self, stream: ProgramStream, problem: Exception) -> None:
        """Tell what came of one command; its program goes on. Of the errors that must wait, the first LATE are told."""
        failed = Failed(stream.number, told(problem))
        if stream.refused is None or stream.session is None:
            await self._outbox.tell_aside(failed, self._nursery)
        elif len(stream.refused) < LATE:
            stream.refused.append(failed)

    def _admit(self, number: int, most: int) -> ProgramStream:
        """A new stream, of at most so many."""
        if number in self._streams:
            raise BadRequest(f"stream {number} has a program already", hint="choose another number")
        if len(self._streams) >= most:
            raise Busy(f"this connection may run {most} at a time", retry_after=1, hint="end one first")
        stream = self._streams[number] = ProgramStream(number)
        return stream

    async def _pass_on(self, command: StreamCommand) -> None:
        stream = self._streams.get(command.stream)
        if stream is None:
            if command.stream in self._ended:
                return
            raise NotFound(f"stream {command.stream} has no program", hint="start one first")
        if stream.session is not None:
            await self._carry_out(stream, stream.session, command)
        elif isinstance(command, Kill):
            stream.scope.cancel()
        else:
            if isinstance(command, Input):
                stream.early_bytes += len(command.data)
            if stream.early_bytes > EARLY_INPUT or len(stream.early) >= EARLY_INPUT // 64:
                raise TooLarge("too much input for a program that has not started yet")
            stream.early.append(command)

    async def _carry_out(self, stream: ProgramStream, session: "Session | Seat", command: StreamCommand) -> None:
        match command:
            case Input(_, data):
                await self._type(stream, session, data)
            case CloseInput():
                session.close_input()
            case Resize(_, rows, cols):
                session.resize(Window(rows, cols))
            case Signal(_, name):
                if stream.signals >= SIGNALS:
                    raise Busy("too many signals are under way", retry_after=0.1)
                stream.signals += 1
                self._nursery.start_soon(self._signal, stream, session, name)
            case Kill():
                session.kill()

    async def _type(self, stream: ProgramStream, session: "Session | Seat", data: bytes) -> None:
        """Give input, and send what the terminal has echoed by then from here: waking the stream's task costs more.

        Not while a send is under way, which may be stuck: the reader must stay free for the next command.
        """
        viewer = stream.viewer if not self._outbox.busy and len(data) <= KEYS else None
        await session.write(data, viewer)
        if viewer is None:
            return
        for _ in range(ECHOES):
            event = viewer.poll()
            if event is None:
                return
            if isinstance(event, Last):
                viewer.close()  # the stream's task waits for this event, which was the last
                await self._tell_end(stream, event_of(stream.number, event))
                return
            await self._tell(stream, event)
        viewer.wake()

    async def _signal(self, stream: ProgramStream, session: "Session | Seat", name: str) -> None:
        """In a task of its own: it waits for the program to run, and for the box to answer."""
        try:
            await session.signal(name)
        except Exception as problem:
            await self._refuse(stream, problem)
        finally:
            stream.signals -= 1

    async def _program(self, stream: ProgramStream, start: Start) -> None:
        session: Session | None = None
        try:
            with stream.scope:
                client, kernels = await self._starter(start), self._kernels if start.keep else None
                session = await self._admission.start(client, run_of(start), profile=start.profile, kernels=kernels)
                stream.viewer = session.viewer()
                stream.session = session
                for command in stream.early:
                    try:
                        await self._carry_out(stream, session, command)
                    except Exception as problem:  # as for commands that come later
                        await self._refuse(stream, problem)
                await self._follow(stream, stream.viewer)
            if stream.scope.cancelled_caught:
                killed = Ended(stream.number, "killed", None, None, "killed before it started", 0, 0, 0, {})
                await self._tell_end(stream, killed)
        except Exception as problem:
            await self._tell_end(stream, Failed(stream.number, told(problem), over=True))
        finally:
            if stream.viewer is not None:
                stream.viewer.close()
            if session is not None:
                session.kill()
            self._forget(stream)
        if self._drain.begun.is_set():
            await self._leave_if_idle()

    async def _starter(self, start: Start) -> Client:
        """Who starts it: the connection's client, or who signed the token that came along. Raises Unauthorized."""
        key = None if start.token is None else await self._doorkeeper.check_token(start.token)
        return self._client if key is None else Client(key, self._client.address)

    async def _join(self, attach: Attach) -> bool:
        """Before any command is read, so that all find the session; it may be gone since the client asked for it."""
        try:
            session = self._admission.find(attach.session)
        except RunnerdError as problem:
            await self._send_away(problem)
            return False
        stream = self._streams[attach.stream] = ProgramStream(attach.stream)
        stream.session, stream.viewer, stream.refused = session, session.viewer(attach.offset), None
        self._nursery.start_soon(self._watch, stream, stream.viewer)
        return True

    async def _watch(self, stream: ProgramStream, viewer: Viewer) -> None:
        try:
            await self._follow(stream, viewer)
        finally:
            viewer.close()
            self._forget(stream)

    def _attach_terminal(self, command: visits.OpenTerminal | visits.AttachTerminal) -> None:
        stream = self._admit(command.stream, self._admission.profile(spaces.PROFILE).runs)
        try:
            stream.session = seat = self._visit.seat(command)
        except BaseException:
            self._forget(stream)
            raise
        self._nursery.start_soon(self._show_terminal, stream, seat)

    async def _show_terminal(self, stream: ProgramStream, seat: Seat) -> None:
        try:
            await self._outbox.tell(attached(stream.number, seat), *stream.begin())
            stream.viewer = seat.viewer
            await self._follow(stream, seat.viewer)
            if self._streams.get(stream.number) is stream:  # it was left, and goes on
                await self._tell_end(stream, visits.Detached(stream.number))
        finally:
            seat.close()
            self._forget(stream)
        if self._drain.begun.is_set():
            await self._leave_if_idle()

    def _detach(self, number: int) -> None:
        stream = self._streams.get(number)
        if stream is not None and isinstance(stream.session, Seat):
            stream.session.close()
        elif number not in self._ended:
            raise NotFound(f"stream {number} shows no terminal", hint="a program ends by kill")

    async def _tell(self, stream: ProgramStream, *events: Happened) -> None:
        refused = stream.begin() if isinstance(events[0], Began) else ()
        await self._outbox.tell(*[event_of(stream.number, event) for event in events], *refused)

    async def _tell_end(self, stream: ProgramStream, *events: Event) -> None:
        """The last events of a stream. Its number is free before, since a client may use it again as soon as it hears
        of its end; whoever tells this ends the conversation, if that is all it was about."""
        self._forget(stream)
        await self._outbox.tell(*events)
        if self._once:
            self._nursery.cancel_scope.cancel()

    def _forget(self, stream: ProgramStream) -> None:
        if self._streams.get(stream.number) is stream:
            del self._streams[stream.number]
            self._ended.append(stream.number)

    async def _follow(self, stream: ProgramStream, viewer: Viewer) -> None:
        """Tell everything up to the end, unless `_type` came first with it."""
        try:
            while True:
                events = [await viewer.next()]
                if isinstance(events[0], Output) and (more := viewer.poll()) is not None:
                    events.append(more)
                if isinstance(events[-1], Last):
                    await self._tell_end(stream, *[event_of(stream.number, event) for event in events])
                    continue
                began = trio.current_time()
                await self._tell(stream, *events)
                if viewer.behind and isinstance(events[0], Output):
                    await self._outbox.room()
                    viewer.took(len(events[0].data), trio.current_time() - began)
        except trio.EndOfChannel:
            return

    async def _tell_of_drain(self) -> None:
        await self._drain.begun.wait()
        await self._outbox.tell(Draining(self._drain.seconds))
        await self._leave_if_idle()

    async def _leave_if_idle(self) -> None:
        if not self._streams:
            await self._transport.close(1001, "the daemon stops")
