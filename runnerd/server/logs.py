"""The log: one line an event, as key=value fields; short on a terminal; with fields of its own in systemd's journal."""

import logging
import os
import re
import socket
import sys
import time
from collections.abc import Mapping
from contextvars import ContextVar
from typing import Any

JOURNAL = "/run/systemd/journal/socket"
PRIORITIES = {logging.DEBUG: 7, logging.INFO: 6, logging.WARNING: 4, logging.ERROR: 3, logging.CRITICAL: 2}

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
        fields = _fields(record)
        if self._plain:
            level = "" if record.levelno <= logging.INFO else f"{record.levelname.lower()}: "
            head = f"{time.strftime('%H:%M:%S', time.localtime(record.created))} {level}{message}"
        else:
            moment = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created))
            head = f"time={moment}.{int(record.msecs):03d}Z level={record.levelname.lower()} event={_quote(message)}"
            if record.levelno >= logging.WARNING:
                fields["logger"] = record.name
        line = _line(head, fields)
        return f"{line}\n{self.formatException(record.exc_info)}" if record.exc_info else line


class JournalHandler(logging.Handler):
    """Writes to systemd's journal by its own protocol: the line as MESSAGE, and each field under its name in capitals,
    so that `journalctl OUTCOME=memory` finds it. What the journal does not take goes to stderr."""

    def __init__(self, path: str = JOURNAL) -> None:
        super().__init__()
        self._path = path
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC)

    def emit(self, record: logging.LogRecord) -> None:
        try:
            self._socket.sendto(journal_entry(record), self._path)
        except OSError:
            print(Formatter(plain=False).format(record), file=sys.stderr, flush=True)

    def close(self) -> None:
        self._socket.close()
        super().close()


def journal_entry(record: logging.LogRecord) -> bytes:
    """A record as the journal's socket takes it: each field's name, length and bytes, so no value forges a field."""
    fields = _fields(record)
    message = _line(record.getMessage(), fields)
    if record.exc_info:
        message += "\n" + logging.Formatter().formatException(record.exc_info)
    entry: dict[str, Any] = {
        "MESSAGE": message,
        "PRIORITY": PRIORITIES.get(record.levelno, 6),
        "SYSLOG_IDENTIFIER": "runnerd",
        "LOGGER": record.name,
    }
    entry |= {re.sub(r"[^A-Z0-9]", "_", key.upper()): value for key, value in fields.items() if value is not None}
    parts: list[bytes] = []
    for name, value in entry.items():
        data = str(value).encode(errors="backslashreplace")
        parts += [name.encode(), b"\n", len(data).to_bytes(8, "little"), data, b"\n"]
    return b"".join(parts)


def set_up() -> None:
    """Send runnerd's log to the journal where stderr is connected to it, else to stderr."""
    handler: logging.Handler
    if _stderr_is_the_journal():
        handler = JournalHandler()
    else:
        handler = logging.StreamHandler(sys.stderr)
        handler.setFormatter(Formatter(plain=sys.stderr.isatty()))
    root = logging.getLogger("runnerd")
    root.handlers[:] = [handler]
    root.setLevel(logging.INFO)
    root.propagate = False


def _stderr_is_the_journal() -> bool:
    """As systemd.exec(5) has it; a process whose stderr went elsewhere since still has the variable."""
    status = os.fstat(2)
    return os.environ.get("JOURNAL_STREAM") == f"{status.st_dev}:{status.st_ino}"


def _fields(record: logging.LogRecord) -> dict[str, Any]:
    fields = {key: value for key, value in vars(record).items() if key not in _STANDARD}
    return {**fields, **(_bound.get() or {})}


def _line(head: str, fields: dict[str, Any]) -> str:
    return " ".join([head, *(f"{key}={_quote(value)}" for key, value in fields.items())])


def _quote(value: Any) -> str:
    """A value as it is, in quotes when it would not be one word; line breaks never reach the log."""
    text = str(value)
    if text and not any(character in text for character in ' "=\\') and text.isprintable():
        return text
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return '"' + "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in escaped) + '"'
