"""runnerd.v1, our own protocol: JSON text for control, binary frames for terminal bytes. See docs/protocol.md."""

import struct
from collections.abc import Sequence
from typing import Any

import msgspec

from runnerd.errors import BadRequest, RunnerdError
from runnerd.protocols import (
    Authenticate,
    Command,
    Draining,
    Ended,
    Event,
    Failed,
    Frame,
    Input,
    Output,
    Ping,
    Pong,
    Skipped,
    Start,
    Started,
    StateChanged,
    visits,
)
from runnerd.protocols.fields import Fields, control
from runnerd.protocols.spaces import Person, Warned

PATH = "/api/v1/terminal"
SUBPROTOCOL = "runnerd.v1"

_INPUT = struct.Struct(">BI")
_OUTPUT = struct.Struct(">BIQ")
_CHANNELS = {"stdout": 1, "stderr": 2}
_OF_A_STREAM = ("start", "input", "eof", "resize", "signal", "kill", "open", "attach", "detach")
_TYPES = (*_OF_A_STREAM, "ping", "auth", "join", "list", "close")


class TerminalAdapter:
    """Bad frames are answered by error frames; nothing raises. Which streams live is the conversation's to know."""

    def receive(self, frame: Frame) -> tuple[Sequence[Command], Sequence[Frame]]:
        stream: int | None = None
        try:
            if isinstance(frame, bytes):
                return [self._binary(frame)], []
            fields = Fields.decode(frame)
            kind = fields.text("type")
            if kind in _OF_A_STREAM:
                stream = fields.stream()
            return self._command(kind, fields), []
        except BadRequest as error:
            return [], [self._failed(stream, error)]

    def send(self, *events: Event) -> Sequence[Frame]:
        return [self._frame(event) for event in events]

    def _frame(self, event: Event) -> Frame:
        match event:
            case Output():
                return _OUTPUT.pack(_CHANNELS[event.channel], event.stream, event.offset) + event.data
            case Started():
                return _frame(
                    "started",
                    stream=event.stream,
                    session=event.session,
                    language=event.language,
                    mode=event.mode,
                    timings=event.timings,
                )
            case Skipped():
                return _frame("skipped", stream=event.stream, bytes=event.size)
            case StateChanged():
                return _frame("state", stream=event.stream, state=event.state)
            case Ended():
                return _frame(
                    "exit",
                    stream=event.stream,
                    outcome=event.outcome,
                    code=event.code,
                    signal=event.signal,
                    message=event.message,
                    usage={"cpu": event.cpu, "memory": event.memory, "wall": event.wall},
                    timings=event.timings,
                )
            case Failed():
                return self._failed(event.stream, event.error)
            case Pong():
                return _frame("pong", id=event.id, time=event.time)
            case Draining():
                return _frame("draining", seconds=event.seconds)
            case _:
                return _visit_frame(event)

    def _binary(self, frame: bytes) -> Command:
        if len(frame) < _INPUT.size or frame[0] != 0:
            raise BadRequest(
                "a binary frame must be input",
                hint="a zero byte, the stream's number as 32 bits in network order, then the bytes",
            )
        _, stream = _INPUT.unpack_from(frame)
        return Input(stream, frame[_INPUT.size :])

    def _command(self, kind: str, fields: Fields) -> Sequence[Command]:
        match kind:
            case "ping":
                return [Ping(fields.id())]
            case "auth":
                return [Authenticate(fields.text("key"))]
            case "start":
                return self._start(fields)
            case "input":
                return [Input(fields.stream(), fields.content("data"))]
            case "eof" | "signal" | "resize" | "kill":
                return [control(kind, fields.stream(), fields)]
            case "join":
                enter = visits.Enter(
                    fields.text("join"), fields.label("user", "member"), fields.label("color", "#6366f1")
                )
                return [*_key(fields), enter]
            case "open" | "attach" | "detach" | "list" | "close":
                return [_of_terminals(kind, fields)]
            case _:
                raise BadRequest(
                    f"unknown type {kind[:40]!r}",
                    hint=f"known types: {', '.join(_TYPES)}",
                    code="unknown_type",
                )

    def _start(self, fields: Fields) -> Sequence[Command]:
        command = Start(
            stream=fields.stream(),
            language=fields.text("language", ""),
            files=fields.files(),
            main=fields.optional("main"),
            args=fields.words("args") or (),
            argv=fields.words("argv"),
            env=fields.env(),
            mode=fields.mode(),
            rows=fields.cells("rows", 24),
            cols=fields.cells("cols", 80),
            stdin=fields.content("stdin") if "stdin" in fields else None,
            limits=fields.limits(),
        )
        if not command.language and command.argv is None:
            raise BadRequest("language is missing", hint="send `language` with `code` or `files`, or `argv`")
        return [*_key(fields), command]

    def _failed(self, stream: int | None, error: RunnerdError) -> Frame:
        fields = error.fields() if stream is None else {**error.fields(), "stream": stream}
        return _frame("error", **fields)


def _key(fields: Fields) -> Sequence[Command]:
    key = fields.optional("key")
    return [Authenticate(key)] if key is not None else []


def _of_terminals(kind: str, fields: Fields) -> visits.Command:
    match kind:
        case "open":
            name = fields.label("terminal", "") if "terminal" in fields else None
            return visits.OpenTerminal(fields.stream(), name, fields.cells("rows", 24), fields.cells("cols", 80))
        case "attach":
            return visits.AttachTerminal(
                fields.stream(),
                fields.text("terminal"),
                fields.number("offset", 0, 0, 2**53),
                fields.cells("rows", 24),
                fields.cells("cols", 80),
                fields.flag("read_only"),
            )
        case "detach":
            return visits.Detach(fields.stream())
        case "list":
            return visits.ListTerminals()
        case _:
            return visits.CloseTerminal(fields.text("terminal"))


def _visit_frame(event: visits.Event) -> Frame:
    match event:
        case visits.Entered(me, members, terminals):
            told = {"user": me.user, "color": me.color, "host": me.host}
            return _frame("join", **told, members=_people(members), terminals=_items(terminals))
        case visits.MembersChanged(who, change, members):
            return _frame(change, user=who.user, color=who.color, members=_people(members))
        case visits.Terminals(terminals):
            return _frame("terminals", terminals=_items(terminals))
        case visits.Attached(stream, name, rows, cols, read_only):
            return _frame("attached", stream=stream, terminal=name, rows=rows, cols=cols, read_only=read_only)
        case visits.Detached(stream):
            return _frame("detached", stream=stream)
        case visits.Resized(stream, rows, cols):
            return _frame("size", stream=stream, rows=rows, cols=cols)
        case Warned(message, seconds):
            return _frame("warning", message=message, **({} if seconds is None else {"seconds": seconds}))


def _people(members: Sequence[Person]) -> list[dict[str, Any]]:
    return [{"user": each.user, "color": each.color, "host": each.host} for each in members]


def _items(terminals: Sequence[visits.TerminalItem]) -> list[dict[str, Any]]:
    return [
        {"terminal": each.name, "rows": each.rows, "cols": each.cols, "viewers": each.viewers}
        | {"start": each.start, "end": each.end}
        for each in terminals
    ]


def _frame(kind: str, **fields: Any) -> Frame:
    return msgspec.json.encode({"type": kind, **fields}).decode()
