import logging
import os
import socket
import sys
from functools import partial
from pathlib import Path

import pytest
import trio

from runnerd.server import logs
from runnerd.server.logs import Formatter, JournalHandler, journal_entry, set_up


def record(message: str, level: int = logging.INFO, **fields: object) -> logging.LogRecord:
    return logging.getLogger("runnerd.x").makeRecord("runnerd.x", level, "f", 1, message, (), None, extra=fields)


def test_fields_follow_the_event() -> None:
    line = Formatter(plain=False).format(record("session ended", outcome="exited", code=0))
    assert line.startswith("time=20")
    assert line.endswith('level=info event="session ended" outcome=exited code=0')


def test_a_terminal_gets_a_short_line() -> None:
    line = Formatter(plain=True).format(record("no pong", logging.WARNING, id="n1-1"))
    assert line[8:] == " warning: no pong id=n1-1"


def test_a_client_cannot_forge_a_line_or_move_the_cursor() -> None:
    line = Formatter(plain=False).format(record("x", origin='a"\nlevel=error \x1b[2J', empty="", back="\\"))
    assert "\n" not in line
    assert "\x1b" not in line
    assert line.endswith('origin="a\\"\\nlevel=error \\x1b[2J" empty="" back="\\\\"')


async def test_fields_of_a_task_go_with_what_it_starts() -> None:
    lines: list[str] = []

    async def write(**fields: object) -> None:
        logs.bind(**fields)
        await trio.lowlevel.checkpoint()
        lines.append(Formatter(plain=False).format(record("x", outcome="exited")))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(partial(write, request="r1"))
    async with trio.open_nursery() as nursery:
        logs.bind(client="unix")
        nursery.start_soon(partial(write, request="r2"))
    ends = {line.partition("event=")[2] for line in lines}
    assert ends == {"x outcome=exited request=r1", "x outcome=exited client=unix request=r2"}


def test_a_traceback_follows() -> None:
    try:
        raise ValueError("deep")
    except ValueError:
        entry = record("unexpected")
        entry.exc_info = sys.exc_info()
    line = Formatter(plain=False).format(entry)
    assert line.split("\n")[0].endswith("event=unexpected")
    assert line.endswith("ValueError: deep")


def entry(data: bytes) -> dict[str, str]:
    """The fields of a journal entry, read as the journal does."""
    fields: dict[str, str] = {}
    while data:
        name, _, data = data.partition(b"\n")
        size = int.from_bytes(data[:8], "little")
        fields[name.decode()] = data[8 : 8 + size].decode()
        assert data[8 + size : 9 + size] == b"\n"
        data = data[9 + size :]
    return fields


def test_the_journal_gets_fields(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as journal:
        journal.bind(str(tmp_path / "journal"))
        handler = JournalHandler(str(tmp_path / "journal"))
        handler.handle(record("session ended", logging.WARNING, session="n1-1", outcome="memory", code=None))
        handler.close()
        assert entry(journal.recv(4096)) == {
            "MESSAGE": "session ended session=n1-1 outcome=memory code=None",
            "PRIORITY": "4",
            "SYSLOG_IDENTIFIER": "runnerd",
            "LOGGER": "runnerd.x",
            "SESSION": "n1-1",
            "OUTCOME": "memory",
        }


def test_a_client_cannot_forge_a_field_of_the_journal() -> None:
    fields = entry(journal_entry(record("x", origin="a\nOUTCOME=exited\nPRIORITY\n")))
    assert fields["ORIGIN"] == "a\nOUTCOME=exited\nPRIORITY\n"
    assert fields["PRIORITY"] == "6"
    assert "\n" not in fields["MESSAGE"]
    assert "OUTCOME" not in fields


def test_without_a_journal_the_line_goes_to_stderr(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    handler = JournalHandler(str(tmp_path / "none"))
    handler.handle(record("session ended", outcome="exited"))
    handler.close()
    assert 'event="session ended" outcome=exited' in capsys.readouterr().err


@pytest.mark.parametrize("connected", [True, False])
def test_the_journal_is_used_where_stderr_is_connected_to_it(connected: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    status = os.fstat(2)
    monkeypatch.setenv("JOURNAL_STREAM", f"{status.st_dev}:{status.st_ino if connected else status.st_ino + 1}")
    logger = logging.getLogger("runnerd")
    before = logger.handlers[:], logger.level, logger.propagate
    try:
        set_up()
        assert [isinstance(each, JournalHandler) for each in logger.handlers] == [connected]
        for handler in logger.handlers:
            handler.close()
    finally:
        logger.handlers[:], logger.level, logger.propagate = before
