import logging
import sys
from functools import partial

import trio

from runnerd.server import logs
from runnerd.server.logs import Formatter


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
