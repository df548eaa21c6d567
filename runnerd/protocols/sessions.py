"""Protocol 003, `sessions`: a session is made by POST /session, and watched at /ws/session/ID. See docs/protocol.md."""

from collections.abc import Sequence
from typing import Any

import msgspec

from runnerd.errors import BadRequest, RunnerdError
from runnerd.protocols import (
    Command,
    Ended,
    Event,
    Failed,
    Frame,
    Input,
    Output,
    Skipped,
    Start,
    Started,
    StateChanged,
)
from runnerd.protocols.fields import Fields, control

PROFILE = "session"
PATH = "/session"
WATCH = "/ws/session/"
TYPES = ("input", "eof", "signal", "resize", "kill")
FINISHED = ("exited", "signal", "compile_error")
"""Outcomes of the program's own; all others are `terminated`."""


class SessionAdapter:
    """One client that watches one session, whose stream is 0. Nothing raises."""

    def receive(self, frame: Frame) -> tuple[Sequence[Command], Sequence[Frame]]:
        try:
            if isinstance(frame, bytes):
                raise BadRequest("frames are text here: JSON")
            fields = Fields.decode(frame)
            return [_command(fields.text("type", allowed=", ".join(TYPES)), fields)], []
        except RunnerdError as error:
            return [], [_error(error)]

    def send(self, *events: Event) -> Sequence[Frame]:
        return [frame for event in events if (frame := _tell(event)) is not None]


def start_of(fields: Fields) -> Start:
    """What POST /session asks for. Raises BadRequest."""
    start = Start(
        stream=0,
        language=fields.text("language"),
        profile=PROFILE,
        files=fields.files(),
        main=fields.optional("main"),
        args=fields.words("args") or (),
        env=fields.env(),
        mode="terminal" if fields.flag("tty") else "split",
        rows=fields.cells("rows", 24),
        cols=fields.cells("cols", 80),
    )
    if not start.files:
        raise BadRequest("code is missing", hint="send `code`, or `files`")
    return start


def _command(kind: str, fields: Fields) -> Command:
    match kind:
        case "input":
            return Input(0, fields.content("data"))
        case "eof" | "signal" | "resize" | "kill":
            return control(kind, 0, fields)
        case _:
            raise BadRequest(
                f"unknown type {kind[:40]!r}", hint=f"known types: {', '.join(TYPES)}", code="unknown_type"
            )


def _tell(event: Event) -> Frame | None:
    match event:
        case Output():
            return _frame(event.channel, data=event.data.decode(errors="replace"), offset=event.offset)
        case Started():
            return _frame("state", state="running")
        case StateChanged():
            return _frame("state", state=event.state)
        case Skipped():
            return _frame("skipped", bytes=event.size)
        case Ended():
            state = "finished" if event.outcome in FINISHED else "terminated"
            fields: dict[str, Any] = {"exitCode": event.code, "reason": event.outcome, "message": event.message}
            if event.signal is not None:
                fields["signal"] = event.signal
            return _frame("state", state=state, **fields)
        case Failed():
            return _error(event.error)
        case _:
            return None


def _error(error: RunnerdError) -> Frame:
    return _frame("error", **error.fields())


def _frame(kind: str, **fields: Any) -> Frame:
    return msgspec.json.encode({"type": kind, **fields}).decode()
