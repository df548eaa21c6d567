"""runnerd.v1, our own protocol: JSON text for control, binary frames for terminal bytes. See docs/protocol.md."""

import base64
import binascii
import re
import struct
from collections.abc import Sequence
from typing import Any, TypeVar, cast

import msgspec

from runnerd.errors import BadRequest, RunnerdError, TryLater
from runnerd.protocols import (
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
    Mode,
    Output,
    Ping,
    Pong,
    Resize,
    Signal,
    Start,
    Started,
    StateChanged,
)

PATH = "/api/v1/terminal"
SUBPROTOCOL = "runnerd.v1"

_INPUT = struct.Struct(">BI")
_OUTPUT = struct.Struct(">BIQ")
_CHANNELS = {"stdout": 1, "stderr": 2}
_MODES = ("terminal", "split", "pipes")
_OF_A_STREAM = ("start", "input", "eof", "resize", "signal", "kill")
_CELLS_MAX = 1000
_FILES_MAX = 1000
_LIMIT_MAX = 2**53
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_SIGNAL = re.compile(r"(SIG)?([A-Z]+[0-9]*)")

T = TypeVar("T")
Fields = dict[str, Any]


class TerminalAdapter:
    """Bad frames are answered by error frames; nothing raises. Which streams live is the conversation's to know."""

    def receive(self, frame: Frame) -> tuple[Sequence[Command], Sequence[Frame]]:
        stream: int | None = None
        try:
            if isinstance(frame, bytes):
                return [self._binary(frame)], []
            fields = _decode(frame)
            kind = _field(fields, "type", str, None, "text")
            if kind in _OF_A_STREAM:
                stream = _stream(fields)
            return self._command(kind, fields), []
        except BadRequest as error:
            return [], self._failed(stream, error)

    def send(self, event: Event) -> Sequence[Frame]:
        match event:
            case Output():
                return [_OUTPUT.pack(_CHANNELS[event.channel], event.stream, event.offset) + event.data]
            case Started():
                return _frame(
                    "started",
                    stream=event.stream,
                    session=event.session,
                    language=event.language,
                    mode=event.mode,
                    timings=event.timings,
                )
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
                return [Ping(_id(fields.get("id")))]
            case "auth":
                return [Authenticate(_field(fields, "key", str, None, "text"))]
            case "start":
                return self._start(fields)
            case "input" | "eof" | "resize" | "signal" | "kill":
                return [_control(kind, _stream(fields), fields)]
            case _:
                raise BadRequest(
                    f"unknown type {kind[:40]!r}",
                    hint="known types: start, input, eof, resize, signal, kill, ping, auth",
                    code="unknown_type",
                )

    def _start(self, fields: Fields) -> Sequence[Command]:
        command = Start(
            stream=_stream(fields),
            language=_field(fields, "language", str, "", "text"),
            files=_files(fields),
            main=_optional(fields, "main"),
            args=_words(fields, "args") or (),
            argv=_words(fields, "argv"),
            env=_env(fields),
            mode=_mode(fields),
            rows=_cells(fields, "rows", 24),
            cols=_cells(fields, "cols", 80),
            stdin=_content(fields["stdin"], "stdin") if fields.get("stdin") is not None else None,
            limits=_limits(fields),
        )
        if not command.language and command.argv is None:
            raise BadRequest("language is missing", hint="send `language` with `code` or `files`, or `argv`")
        key = _optional(fields, "key")
        return [Authenticate(key), command] if key is not None else [command]

    def _failed(self, stream: int | None, error: RunnerdError) -> Sequence[Frame]:
        fields: Fields = {"code": error.code, "message": error.message, "hint": error.hint}
        if stream is not None:
            fields["stream"] = stream
        if isinstance(error, TryLater):
            fields["retry_after"] = error.retry_after
        return _frame("error", **fields)


def _frame(kind: str, **fields: Any) -> Sequence[Frame]:
    return [msgspec.json.encode({"type": kind, **fields}).decode()]


def _decode(frame: str) -> Fields:
    try:
        fields = msgspec.json.decode(frame)
    except (msgspec.DecodeError, RecursionError, UnicodeError) as problem:
        raise BadRequest(f"the frame is not JSON: {problem}", code="not_json") from None
    if not isinstance(fields, dict):
        raise BadRequest("the frame is not a JSON object", code="not_json")
    return cast(Fields, fields)


def _control(kind: str, stream: int, fields: Fields) -> Command:
    match kind:
        case "input":
            return Input(stream, _content(fields.get("data"), "data"))
        case "eof":
            return CloseInput(stream)
        case "resize":
            return Resize(stream, _cells(fields, "rows", None), _cells(fields, "cols", None))
        case "signal":
            name = _field(fields, "signal", str, None, "a signal's name such as INT")
            match = _SIGNAL.fullmatch(name.upper())
            if match is None:
                raise BadRequest(f"signal is {name[:20]!r}", hint="a signal's name such as INT, TERM or WINCH")
            return Signal(stream, match[2])
        case _:
            return Kill(stream)


def _field(fields: Fields, name: str, kind: type[T], default: T | None, allowed: str) -> T:
    value = fields.get(name, default)
    if isinstance(value, kind) and not (kind is int and isinstance(value, bool)):
        return value
    if value is None:
        raise BadRequest(f"{name} is missing", hint=f"{name}: {allowed}")
    raise BadRequest(f"{name} is {_shown(value)}", hint=f"{name}: {allowed}")


def _shown(value: object) -> str:
    """Never the inside of a list or object: it may be nested deeper than can be encoded here."""
    if isinstance(value, dict | list):
        return "an object" if isinstance(value, dict) else "a list"
    return msgspec.json.encode(value).decode()[:40]


def _optional(fields: Fields, name: str) -> str | None:
    return _field(fields, name, str, None, "text") if fields.get(name) is not None else None


def _number(fields: Fields, name: str, default: int | None, low: int, high: int) -> int:
    value = _field(fields, name, int, default, f"a whole number from {low} to {high}")
    if not low <= value <= high:
        raise BadRequest(f"{name} is {_shown(value)}", hint=f"{name}: a whole number from {low} to {high}")
    return value


def _stream(fields: Fields) -> int:
    return _number(fields, "stream", 1, 0, 2**32 - 1)


def _cells(fields: Fields, name: str, default: int | None) -> int:
    return _number(fields, name, default, 1, _CELLS_MAX)


def _id(value: object) -> str | int | None:
    if value is None or (isinstance(value, str | int) and not isinstance(value, bool)):
        return value
    raise BadRequest(f"id is {_shown(value)}", hint="id: text or a whole number")


def _mode(fields: Fields) -> Mode:
    mode = _field(fields, "mode", str, "terminal", f"one of {', '.join(_MODES)}")
    if mode not in _MODES:
        raise BadRequest(f"mode is {mode[:20]!r}", hint=f"mode: one of {', '.join(_MODES)}")
    return mode


def _content(value: object, name: str) -> bytes:
    """Text as UTF-8, or {"base64": ...} for any bytes."""
    if isinstance(value, str):
        return value.encode()
    if isinstance(value, dict):
        encoded: object = cast(Fields, value).get("base64")
        if isinstance(encoded, str):
            try:
                return base64.b64decode(encoded, validate=True)
            except (binascii.Error, ValueError):
                raise BadRequest(f"{name} is not base64") from None
    raise BadRequest(f"{name} is {_shown(cast(object, value))}", hint=f'{name}: text, or {{"base64": "..."}}')


def _words(fields: Fields, name: str) -> tuple[str, ...] | None:
    if fields.get(name) is None:
        return None
    words = _field(fields, name, list, None, "a list of text")  # type: ignore[type-var]
    for word in cast(list[object], words):
        _plain(word, name)
    if name == "argv" and not words:
        raise BadRequest("argv is empty", hint="argv: the program and its arguments")
    return tuple(cast(list[str], words))


def _plain(value: object, name: str) -> str:
    if not isinstance(value, str):
        raise BadRequest(f"{name} holds {_shown(value)}", hint=f"{name} may hold text only")
    if "\0" in value:
        raise BadRequest(f"{name} holds a NUL character")
    return value


def _table(fields: Fields, name: str) -> Fields:
    if fields.get(name) is None:
        return {}
    return cast(Fields, _field(fields, name, dict, None, "an object"))  # type: ignore[type-var]


def _env(fields: Fields) -> dict[str, str]:
    table = _table(fields, "env")
    for variable, value in table.items():
        if not _NAME.fullmatch(variable):
            raise BadRequest(f"env holds the name {variable[:40]!r}", hint="letters, digits and _ only")
        _plain(value, f"env.{variable}")
    return cast(dict[str, str], table)


def _files(fields: Fields) -> dict[str, bytes]:
    """`files`, and `code` as the toolchain's own source file, whose name "" stands for."""
    table = _table(fields, "files")
    if len(table) > _FILES_MAX:
        raise BadRequest(f"{len(table)} files were sent", hint=f"at most {_FILES_MAX}")
    files = {_path(path): _content(content, f"files.{path[:80]}") for path, content in table.items()}
    if fields.get("code") is not None:
        files[""] = _field(fields, "code", str, None, "text").encode()
    return files


def _path(path: str) -> str:
    if not path or "\0" in path or path.startswith("/") or ".." in path.split("/") or len(path) > 4096:
        raise BadRequest(
            f"files holds the path {path[:80]!r}", hint="a path below the work tree: relative, without .. and NUL"
        )
    return path


def _limits(fields: Fields) -> dict[str, float]:
    table = _table(fields, "limits")
    for name, value in table.items():
        if not isinstance(value, int | float) or isinstance(value, bool):
            raise BadRequest(f"limits.{name[:40]} is {_shown(value)}", hint="limits are numbers")
        if not 0 < value <= _LIMIT_MAX:
            raise BadRequest(f"limits.{name[:40]} is {_shown(value)}", hint=f"above 0, at most {_LIMIT_MAX}")
    return {name: float(value) for name, value in table.items()}
