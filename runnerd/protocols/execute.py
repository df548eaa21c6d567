"""Protocol 000, `execute`: JSON messages with an `action`; every answer carries stdout, stderr and execution_time, also
one that is an error: published clients look at the three without asking which it is.

See docs/protocol.md.
"""

from collections.abc import Callable, Iterator, Sequence
from itertools import count
from typing import Any

import msgspec

from runnerd.errors import BadRequest, Busy, NotFound, RunnerdError
from runnerd.protocols import (
    Authenticate,
    Command,
    Ended,
    Event,
    Failed,
    Frame,
    Input,
    Mode,
    Output,
    Ping,
    Pong,
    Skipped,
    Start,
    Started,
)
from runnerd.protocols.fields import Fields, control

PROFILE = "execute"
ACTIONS = ("execute", "stdin", "eof", "signal", "resize", "kill", "ping")

Clock = Callable[[], float]
Id = str | int


class _Run(msgspec.Struct):
    """`id` is the client's own; `session` and `began` (on the clock) are known once it runs."""

    id: Id | None
    session: str | None = None
    began: float | None = None

    @property
    def name(self) -> Id | None:
        """What the client knows it by."""
        return self.session if self.id is None else self.id


class ExecuteAdapter:
    """One connection. `streams` are numbers for its runs, `clock` tells seconds; `beside` whether the connection runs
    something in another protocol. Nothing raises."""

    def __init__(self, streams: Iterator[int], clock: Clock, beside: Callable[[], bool] = lambda: False) -> None:
        self._streams, self._clock, self._beside = streams, clock, beside
        self._runs: dict[int, _Run] = {}

    @property
    def running(self) -> bool:
        return bool(self._runs)

    def __contains__(self, stream: object) -> bool:
        return stream in self._runs

    def receive(self, frame: Frame) -> tuple[Sequence[Command], Sequence[Frame]]:
        name: Id | None = None
        try:
            if isinstance(frame, bytes):
                raise BadRequest("frames are text here: JSON")
            fields = Fields.decode(frame)
            name = fields.id()
            return self._commands(fields, name), []
        except RunnerdError as error:
            return [], [error_frame(error, name)]

    def send(self, *events: Event) -> Sequence[Frame]:
        frames: list[Frame] = []
        rest = list(events)
        while rest:
            event = rest.pop(0)
            match event:
                case Started():
                    run = self._runs[event.stream]
                    run.session, run.began = event.session, self._clock()
                case Output() if rest and isinstance(last := rest[0], Ended) and last.stream == event.stream:
                    frames.append(self._answer(event.stream, _text(event), _end(last)))
                    del self._runs[event.stream], rest[0]
                case Output():
                    frames.append(self._answer(event.stream, _text(event), {}))
                case Skipped():
                    frames.append(self._answer(event.stream, {}, {"skipped": event.size}))
                case Ended():
                    frames.append(self._answer(event.stream, {}, _end(event)))
                    del self._runs[event.stream]
                case Failed(stream, error):
                    run = self._runs.get(stream) if stream is not None else None
                    name, spent = (None, 0.0) if run is None else (run.name, self._spent(run))
                    frames.append(error_frame(error, name, spent))
                    if event.over and stream is not None:
                        self._runs.pop(stream, None)
                case Pong():
                    frames.append(_frame({**_EMPTY, "pong": True, "time": event.time}, event.id))
                case _:
                    pass  # states, and that the daemon stops, are not told in this protocol
        return frames

    def _commands(self, fields: Fields, name: Id | None) -> Sequence[Command]:
        action = fields.text("action", allowed=", ".join(ACTIONS))
        match action:
            case "execute":
                return self._execute(fields, name)
            case "stdin":
                return [Input(self._running(name), fields.content("data"))]
            case "eof" | "signal" | "resize" | "kill":
                return [control(action, self._running(name), fields)]
            case "ping":
                return [Ping(name)]
            case _:
                raise BadRequest(
                    f"unknown action {action[:40]!r}", hint=f"known actions: {', '.join(ACTIONS)}", code="unknown_type"
                )

    def _execute(self, fields: Fields, name: Id | None) -> Sequence[Command]:
        taken = (self._runs or self._beside()) and name is None
        if taken or any(run.name == name for run in self._runs.values()):
            raise Busy(
                "a program runs on this connection", retry_after=1, hint="wait for its end, kill it, or name another id"
            )
        start = start_of(fields, next(self._streams), "split")
        key = fields.optional("api_key")
        self._runs[start.stream] = _Run(name)
        return [Authenticate(key), start] if key is not None else [start]

    def _running(self, name: Id | None) -> int:
        """The run that a message is for: that of its id, or the last."""
        for stream in reversed(self._runs):
            if name is None or self._runs[stream].name == name:
                return stream
        raise NotFound("no such program runs", hint="send execute first", code="not_running")

    def _answer(self, stream: int, output: dict[str, str], end: dict[str, Any]) -> Frame:
        run = self._runs[stream]
        return _frame({**_EMPTY, **output, "execution_time": self._spent(run), **end}, run.name)

    def _spent(self, run: _Run) -> float:
        """Milliseconds since it began."""
        return 0.0 if run.began is None else round((self._clock() - run.began) * 1000, 3)


class StreamAdapter(ExecuteAdapter):
    """The same answers to one request. `error` is what kept it from being run, which is not among the frames; `id` is
    the client's own."""

    def __init__(self, clock: Clock) -> None:
        super().__init__(count(), clock)
        self.error: RunnerdError | None = None
        self.id: Id | None = None

    def receive(self, frame: Frame) -> tuple[Sequence[Command], Sequence[Frame]]:
        try:
            fields = Fields.decode(frame)
            self.id = fields.id()
            commands, self._runs[0] = request(fields), _Run(self.id)
            return commands, []
        except RunnerdError as error:
            self.error = error
            return [], []

    def send(self, *events: Event) -> Sequence[Frame]:
        if isinstance(first := events[0], Failed) and all(run.began is None for run in self._runs.values()):
            self.error = first.error
            return []
        return super().send(*events)


class Collector:
    """The same protocol for one request that gets one answer. `answer` or `error` is there at the end."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._id: Id | None = None
        self._began: float | None = None
        self._output: dict[str, list[bytes]] = {"stdout": [], "stderr": []}
        self.answer: dict[str, Any] | None = None
        self.error: RunnerdError | None = None

    def receive(self, frame: Frame) -> tuple[Sequence[Command], Sequence[Frame]]:
        try:
            fields = Fields.decode(frame)
            self._id = fields.id()
            return request(fields), []
        except RunnerdError as error:
            self.error = error
            return [], []

    def send(self, *events: Event) -> Sequence[Frame]:
        for event in events:
            match event:
                case Started():
                    self._began = self._clock()
                    self._id = event.session if self._id is None else self._id
                case Output():
                    self._output[event.channel].append(event.data)
                case Ended():
                    self.answer = self._whole(event)
                case Failed():
                    self.error = event.error
                case _:
                    pass
        return []

    def _whole(self, ended: Ended) -> dict[str, Any]:
        spent = 0 if self._began is None else round((self._clock() - self._began) * 1000)
        texts = {name: b"".join(parts).decode(errors="replace") for name, parts in self._output.items()}
        named = {} if self._id is None else {"id": self._id}
        return {**texts, **_end(ended), "execution_time": f"{spent}ms", **named}


def request(fields: Fields) -> Sequence[Command]:
    """What a request that gets one answer asks for. Raises BadRequest."""
    start = start_of(fields, 0, "pipes")
    key = fields.optional("api_key")
    return [Authenticate(key), start] if key is not None else [start]


def start_of(fields: Fields, stream: int, mode: Mode) -> Start:
    """`mode` unless the message wants a terminal, or brings all its input: lines of any length pass pipes only."""
    stdin = fields.content("stdin") if "stdin" in fields else None
    if stdin is not None:
        mode = "pipes"
    elif fields.flag("tty"):
        mode = "terminal"
    limits = fields.limits()
    if "timeout" in fields:
        limits["wall"] = fields.seconds("timeout")
    start = Start(
        stream=stream,
        language=fields.text("language"),
        profile=PROFILE,
        files=fields.files(),
        main=fields.optional("main"),
        args=fields.words("args") or (),
        env=fields.env(),
        mode=mode,
        rows=fields.cells("rows", 24),
        cols=fields.cells("cols", 80),
        stdin=stdin,
        limits=limits,
        keep=fields.flag("session"),
    )
    if not start.files:
        raise BadRequest("code is missing", hint="send `code`, or `files`")
    return start


def error_frame(error: RunnerdError, name: Id | None, spent: float = 0.0) -> Frame:
    """The one kind of frame that has the key `error`. `spent` is in milliseconds."""
    fields = error.fields()
    return _frame({"error": fields.pop("message"), **fields, **_EMPTY, "execution_time": spent}, name)


_EMPTY: dict[str, Any] = {"stdout": "", "stderr": "", "execution_time": 0.0}


def _text(output: Output) -> dict[str, str]:
    return {output.channel: output.data.decode(errors="replace")}


def _end(ended: Ended) -> dict[str, Any]:
    fields: dict[str, Any] = {
        "exit_code": ended.code,
        "outcome": ended.outcome,
        "usage": {"cpu": ended.cpu, "memory": ended.memory, "wall": ended.wall},
    }
    if ended.signal is not None:
        fields["signal"] = ended.signal
    if ended.message:
        fields["message"] = ended.message
    return fields


def _frame(fields: dict[str, Any], name: Id | None) -> Frame:
    return msgspec.json.encode(fields if name is None else {**fields, "id": name}).decode()
