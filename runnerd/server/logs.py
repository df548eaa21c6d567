"""The log: one line an event, as key=value fields; short and readable on a terminal."""

import logging
import sys
import time
from collections.abc import Mapping
from contextvars import ContextVar
from typing import Any

_STANDARD = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}


_bound: ContextVar[Mapping[str, object] | None] = ContextVar("runnerd_log_fields", default=None)


def bind(**fields: object) -> None:
    """Add fields to whatever this task, and those that it starts from now on, write to the log."""
    _bound.set({**(_bound.get() or {}), **fields})


class Formatter(logging.Formatter):
    """`log.info("listening", extra={"address": "127.0.0.1:8080"})` gives

    time=2025-01-31T12:00:00.000Z level=info event=listening address=127.0.0.1:8080

    and with `plain`: 12:00:00 listening address=127.0.0.1:8080
    """

    def __init__(self, *, plain: bool) -> None:
        super().__init__()
        self._plain = plain

    def format(self, record: logging.LogRecord) -> str:
        message = record.getMessage()
        fields = {key: value for key, value in vars(record).items() if key not in _STANDARD}
        fields.update(_bound.get() or {})
        if self._plain:
            level = "" if record.levelno <= logging.INFO else f"{record.levelname.lower()}: "
            head = f"{time.strftime('%H:%M:%S', time.localtime(record.created))} {level}{message}"
        else:
            moment = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created))
            head = f"time={moment}.{int(record.msecs):03d}Z level={record.levelname.lower()} event={_quote(message)}"
            if record.levelno >= logging.WARNING:
                fields["logger"] = record.name
        line = " ".join([head, *(f"{key}={_quote(value)}" for key, value in fields.items())])
        return f"{line}\n{self.formatException(record.exc_info)}" if record.exc_info else line


def set_up() -> None:
    """Send runnerd's log to stderr."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(Formatter(plain=sys.stderr.isatty()))
    root = logging.getLogger("runnerd")
    root.handlers[:] = [handler]
    root.setLevel(logging.INFO)
    root.propagate = False


def _quote(value: Any) -> str:
    """A value as it is, in quotes when it would not be one word; line breaks never reach the log."""
    text = str(value)
    if text and not any(character in text for character in ' "=\\') and text.isprintable():
        return text
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return '"' + "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in escaped) + '"'
