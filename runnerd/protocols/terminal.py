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
)
from runnerd.protocols.fields import Fields, control

PATH = "/api/v1/terminal"
SUBPROTOCOL = "runnerd.v1"

_INPUT = struct.Struct(">BI")
_OUTPUT = struct.Struct(">BIQ")
_CHANNELS = {"stdout": 1, "stderr": 2}
_OF_A_STREAM = ("start", "input", "eof", "resize", "signal", "kill")


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
            case _:
                raise BadRequest(
                    f"unknown type {kind[:40]!r}",
                    hint="known types: start, input, eof, resize, signal, kill, ping, auth",
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
        key = fields.optional("key")
        return [Authenticate(key), command] if key is not None else [command]

    def _failed(self, stream: int | None, error: RunnerdError) -> Frame:
        fields = error.fields() if stream is None else {**error.fields(), "stream": stream}
        return _frame("error", **fields)


def _frame(kind: str, **fields: Any) -> Frame:
    return msgspec.json.encode({"type": kind, **fields}).decode()
