"""Protocol 001, `widget`: JSON messages with an `event` and its `data`. See docs/protocol.md."""

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import msgspec

from runnerd.errors import BadRequest, Busy, NotFound, RunnerdError
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
)
from runnerd.protocols.fields import Fields, control

PROFILE = "widget"
EVENTS = ("run_code", "stdin", "eof", "signal", "resize", "kill")


class WidgetAdapter:
    """One connection, which runs one program at a time. `streams` are numbers for its runs; `beside` tells whether the
    connection runs something in another protocol. Nothing raises."""

    def __init__(self, streams: Iterator[int], beside: Callable[[], bool] = lambda: False) -> None:
        self._streams, self._beside = streams, beside
        self._stream: int | None = None

    def __contains__(self, stream: object) -> bool:
        return stream is not None and stream == self._stream

    @property
    def running(self) -> bool:
        return self._stream is not None

    def receive(self, frame: Frame) -> tuple[Sequence[Command], Sequence[Frame]]:
        try:
            if isinstance(frame, bytes):
                raise BadRequest("frames are text here: JSON")
            fields = Fields.decode(frame)
            event = fields.text("event", allowed=", ".join(EVENTS))
            data = fields.inner("data") if "data" in fields else Fields({})
            return self._commands(event, data), []
        except RunnerdError as error:
            return [], [_error(error)]

    def send(self, *events: Event) -> Sequence[Frame]:
        frames: list[Frame] = []
        for event in events:
            match event:
                case Output():
                    frames.append(_frame(event.channel, text=event.data.decode(errors="replace")))
                case Skipped():
                    frames.append(_frame("skipped", bytes=event.size))
                case Ended():
                    self._stream = None
                    frames.append(
                        _frame(
                            "exit",
                            code=event.code,
                            outcome=event.outcome,
                            signal=event.signal,
                            message=event.message,
                        )
                    )
                case Failed(stream, error):
                    frames.append(_error(error))
                    if event.over and stream == self._stream:
                        self._stream = None
                case _:
                    pass  # this protocol knows no other
        return frames

    def _commands(self, event: str, data: Fields) -> Sequence[Command]:
        match event:
            case "run_code":
                return self._run(data)
            case "stdin":
                return [Input(self._running(), data.text("text").encode())]
            case "eof" | "signal" | "resize" | "kill":
                return [control(event, self._running(), data)]
            case _:
                raise BadRequest(
                    f"unknown event {event[:40]!r}", hint=f"known events: {', '.join(EVENTS)}", code="unknown_type"
                )

    def _run(self, data: Fields) -> Sequence[Command]:
        if self.running or self._beside():
            raise Busy("a program runs on this connection", retry_after=1, hint="wait for its end, or kill it")
        start = Start(
            stream=next(self._streams),
            language=data.text("language"),
            profile=PROFILE,
            token=data.optional("token"),
            files={"": data.text("code").encode()},
            mode="split",
            rows=data.cells("rows", 24),
            cols=data.cells("cols", 80),
        )
        self._stream = start.stream
        return [start]

    def _running(self) -> int:
        if self._stream is None:
            raise NotFound("no program runs", hint="send run_code first", code="not_running")
        return self._stream


def _error(error: RunnerdError) -> Frame:
    return _frame("error", **error.fields())


def _frame(event: str, **data: Any) -> Frame:
    return msgspec.json.encode({"event": event, "data": data}).decode()
