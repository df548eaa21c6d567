"""The fields of a JSON frame, read and checked. Pure."""

import base64
import binascii
import re
from typing import Any, TypeVar, cast

import msgspec

from runnerd.errors import BadRequest
from runnerd.protocols import CloseInput, Kill, Mode, Resize, Signal

MODES = ("terminal", "split", "pipes")
CELLS_MAX = 1000
FILES_MAX = 1000
LIMIT_MAX = 2**53
PATH_MAX = 4096
LABEL_MAX = 64
"""Characters of a member's name, a colour, a terminal's name."""
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_SIGNAL = re.compile(r"(SIG)?([A-Z]+[0-9]*)")

T = TypeVar("T")


class Fields:
    """One JSON object. Every method reads the field of its name, or the one that is named, and raises BadRequest that
    says what was found and what is allowed. Fields that nobody reads are ignored."""

    def __init__(self, values: dict[str, Any]) -> None:
        self._values = values

    @classmethod
    def decode(cls, frame: str | bytes) -> "Fields":
        """A frame or body of JSON; code `not_json` when it is none, or no object."""
        try:
            values = msgspec.json.decode(frame)
        except (msgspec.DecodeError, RecursionError, UnicodeError) as problem:
            raise BadRequest(f"the frame is not JSON: {problem}", code="not_json") from None
        if not isinstance(values, dict):
            raise BadRequest("the frame is not a JSON object", code="not_json")
        return cls(cast(dict[str, Any], values))

    def __contains__(self, name: str) -> bool:
        """null is as good as nothing."""
        return self._values.get(name) is not None

    def text(self, name: str, default: str | None = None, allowed: str = "text") -> str:
        return self._get(name, str, default, allowed)

    def optional(self, name: str) -> str | None:
        return self.text(name) if name in self else None

    def label(self, name: str, default: str) -> str:
        """A short text that is shown to people, without spaces around it."""
        text = self.text(name, default).strip()
        if not text or len(text) > LABEL_MAX or not text.isprintable():
            raise BadRequest(f"{name} is {text[:20]!r}", hint=f"{name}: 1 to {LABEL_MAX} printable characters")
        return text

    def is_text(self, name: str) -> bool:
        return isinstance(self._values.get(name), str)

    def items(self, name: str) -> list[object]:
        """A list of anything; nothing is an empty one."""
        return cast(list[object], self._get(name, list, None, "a list")) if name in self else []  # pyright: ignore[reportUnknownArgumentType]

    def flag(self, name: str) -> bool:
        return self._get(name, bool, False, "true or false") if name in self else False

    def number(self, name: str, default: int | None, low: int, high: int) -> int:
        allowed = f"a whole number from {low} to {high}"
        value = self._get(name, int, default, allowed)
        if not low <= value <= high:
            raise BadRequest(f"{name} is {shown(value)}", hint=f"{name}: {allowed}")
        return value

    def inner(self, name: str) -> "Fields":
        """An object within this one."""
        return Fields(self._table(name))

    def stream(self) -> int:
        return self.number("stream", 1, 0, 2**32 - 1)

    def cells(self, name: str, default: int | None) -> int:
        return self.number(name, default, 1, CELLS_MAX)

    def id(self) -> str | int | None:
        value: object = self._values.get("id")
        if value is None or (isinstance(value, str | int) and not isinstance(value, bool)):
            return value
        raise BadRequest(f"id is {shown(value)}", hint="id: text or a whole number")

    def mode(self) -> Mode:
        allowed = f"one of {', '.join(MODES)}"
        mode = self.text("mode", "terminal", allowed)
        if mode not in MODES:
            raise BadRequest(f"mode is {mode[:20]!r}", hint=f"mode: {allowed}")
        return mode

    def signal(self) -> str:
        """A signal's name, without SIG."""
        allowed = "a signal's name such as INT, TERM or WINCH"
        name = self.text("signal", allowed=allowed)
        match = _SIGNAL.fullmatch(name.upper())
        if match is None:
            raise BadRequest(f"signal is {name[:20]!r}", hint=f"signal: {allowed}")
        return match[2]

    def content(self, name: str) -> bytes:
        """Text as UTF-8, or {"base64": ...} for any bytes."""
        return _content(self._values.get(name), name)

    def words(self, name: str) -> tuple[str, ...] | None:
        if name not in self:
            return None
        words = cast(list[object], self._get(name, list, None, "a list of text"))  # pyright: ignore[reportUnknownArgumentType]
        if name == "argv" and not words:
            raise BadRequest("argv is empty", hint="argv: the program and its arguments")
        return tuple(_plain(word, name) for word in words)

    def texts(self, name: str) -> dict[str, str]:
        """An object that holds text; nothing is an empty one."""
        table = self._table(name) if name in self else {}
        return {key: _plain(value, f"{name}.{key[:40]}") for key, value in table.items()}

    def env(self) -> dict[str, str]:
        table = self._table("env") if "env" in self else {}
        for variable in table:
            if not _NAME.fullmatch(variable):
                raise BadRequest(f"env holds the name {variable[:40]!r}", hint="letters, digits and _ only")
        return {variable: _plain(value, f"env.{variable}") for variable, value in table.items()}

    def files(self) -> dict[str, bytes]:
        """`files`, and `code` as the toolchain's own source file, whose name "" stands for."""
        table = self._table("files") if "files" in self else {}
        if len(table) > FILES_MAX:
            raise BadRequest(f"{len(table)} files were sent", hint=f"at most {FILES_MAX}")
        files = {_path(path): _content(content, f"files.{path[:80]}") for path, content in table.items()}
        if "code" in self:
            files[""] = self.text("code").encode()
        return files

    def seconds(self, name: str) -> float:
        """A time above 0."""
        return _limit(self._values.get(name), name)

    def limits(self) -> dict[str, float]:
        table = self._table("limits") if "limits" in self else {}
        return {name: _limit(value, f"limits.{name[:40]}") for name, value in table.items()}

    def _table(self, name: str) -> dict[str, Any]:
        return cast(dict[str, Any], self._get(name, dict, None, "an object"))  # pyright: ignore[reportUnknownArgumentType]

    def _get(self, name: str, kind: type[T], default: T | None, allowed: str) -> T:
        value = self._values.get(name, default)
        if isinstance(value, kind) and not (kind is int and isinstance(value, bool)):
            return value
        if value is None:
            raise BadRequest(f"{name} is missing", hint=f"{name}: {allowed}")
        raise BadRequest(f"{name} is {shown(value)}", hint=f"{name}: {allowed}")


def shown(value: object) -> str:
    """Never the inside of a list or object: it may be nested deeper than can be encoded here."""
    if isinstance(value, dict | list):
        return "an object" if isinstance(value, dict) else "a list"
    return msgspec.json.encode(value).decode()[:40]


def _content(value: object, name: str) -> bytes:
    if isinstance(value, str):
        return value.encode()
    if isinstance(value, dict):
        encoded: object = cast(dict[str, Any], value).get("base64")
        if isinstance(encoded, str):
            try:
                return base64.b64decode(encoded, validate=True)
            except (binascii.Error, ValueError):
                raise BadRequest(f"{name} is not base64") from None
    if value is None:
        raise BadRequest(f"{name} is missing", hint=f'{name}: text, or {{"base64": "..."}}')
    raise BadRequest(f"{name} is {shown(cast(object, value))}", hint=f'{name}: text, or {{"base64": "..."}}')


def _plain(value: object, name: str) -> str:
    if not isinstance(value, str):
        raise BadRequest(f"{name} holds {shown(value)}", hint=f"{name} may hold text only")
    if "\0" in value:
        raise BadRequest(f"{name} holds a NUL character")
    return value


def _path(path: str) -> str:
    if not path or "\0" in path or path.startswith("/") or ".." in path.split("/") or len(path) > PATH_MAX:
        raise BadRequest(
            f"files holds the path {path[:80]!r}", hint="a path below the work tree: relative, without .. and NUL"
        )
    return path


def _limit(value: object, name: str) -> float:
    if not isinstance(value, int | float) or isinstance(value, bool):
        raise BadRequest(f"{name} is {shown(value)}", hint=f"{name}: a number")
    if not 0 < value <= LIMIT_MAX:
        raise BadRequest(f"{name} is {shown(value)}", hint=f"{name}: above 0, at most {LIMIT_MAX}")
    return float(value)


def control(kind: str, stream: int, fields: Fields) -> CloseInput | Signal | Resize | Kill:
    """What all protocols ask in the same words: `kind` is eof, signal, resize or kill. Raises BadRequest."""
    match kind:
        case "eof":
            return CloseInput(stream)
        case "signal":
            return Signal(stream, fields.signal())
        case "resize":
            return Resize(stream, fields.cells("rows", None), fields.cells("cols", None))
        case _:
            return Kill(stream)
