"""Joins a session to the caller's own terminal, or to the files and pipes that stand in its place."""

import logging
import os
import signal
import sys
import termios
import tty
from collections.abc import Generator
from contextlib import contextmanager, suppress
from pathlib import Path

import trio

from runnerd import toolchains
from runnerd.cli import style
from runnerd.config import Config
from runnerd.errors import BadRequest
from runnerd.sandbox import slices
from runnerd.sandbox.host import Host
from runnerd.sandbox.spec import Outcome, Window
from runnerd.session.registry import Registry
from runnerd.session.run import Run
from runnerd.session.session import Session
from runnerd.session.viewer import Ended, Output

STATUS = {
    Outcome.WALL: 124,
    Outcome.IDLE: 124,
    Outcome.CPU: 124,
    Outcome.MEMORY: 137,
    Outcome.PROCESSES: 137,
    Outcome.OUTPUT: 137,
    Outcome.KILLED: 137,
}
"""Exit statuses of runs that a limit ended, after timeout(1) and what a shell says of a killed program."""

READ = 32 * 1024

LOCAL = "local"
"""The owner of what is compiled: the state folder is that of whoever calls."""


def on_terminal() -> bool:
    """Whether a person sits at both ends: input and output are one terminal."""
    return os.isatty(0) and os.isatty(1)


def window() -> Window:
    """The size of our own terminal as the kernel has it: what COLUMNS and LINES say may be long past."""
    try:
        rows, cols = termios.tcgetwinsize(0)
    except termios.error:  # a file or a pipe
        rows = cols = 0
    return Window(rows or Window().rows, cols or Window().cols)


def attend(host: Host, config: Config, run: Run, profile: str) -> int:
    """Run it to its end and return the exit status for our caller."""
    slices.take_short()
    logging.basicConfig(level=logging.ERROR)  # how it ended is told below; only what should not happen is logged
    if os.isatty(2):  # scripts get nothing but the program's own
        print(style(limits_taken(host), "2", 2), file=sys.stderr)
    with _raw(0) if run.mode == "terminal" else _as_it_is():
        ended = trio.run(_attend, host, config, run, profile)
    return _status(ended)


def limits_taken(host: Host) -> str:
    """One line: how boxes are held to their limits, and why no better where that was asked for."""
    words = ("limits", host.limits_mode, " ".join(host.weaker.split()))
    return ": ".join(word for word in words if word)


async def _attend(host: Host, config: Config, run: Run, profile: str) -> Ended:
    async with trio.open_nursery() as nursery:
        registry = Registry(host, toolchains.load(), config, nursery)
        session = await registry.start(run, profile=profile, owner=LOCAL)
        async with trio.open_nursery() as aside:
            if run.mode == "terminal":
                aside.start_soon(_follow_window, session)
            telling = trio.CancelScope()
            aside.start_soon(_pass_signals, session, telling)
            aside.start_soon(_type, session)
            ended = await _tell(session, telling)
            aside.cancel_scope.cancel()
        return ended


async def _tell(session: Session, telling: trio.CancelScope) -> Ended:
    """The program's output to our own, until its end; once `telling` is cancelled, only the end is waited for."""
    viewer = session.viewer()
    with telling:
        while not isinstance(event := await viewer.next(), Ended):
            if isinstance(event, Output):
                await _put(2 if event.channel == "stderr" else 1, event.data, session)
        return event
    while not isinstance(event := await viewer.next(), Ended):
        pass
    return event


async def _type(session: Session) -> None:
    """Our input to the program, as fast as it reads."""
    while True:
        await session.room()
        if os.isatty(0):
            await trio.lowlevel.wait_readable(0)
            try:
                data = os.read(0, READ)
            except OSError:  # our terminal has gone
                data = b""
        else:  # a file, which cannot be waited for
            data = await trio.to_thread.run_sync(os.read, 0, READ, abandon_on_cancel=True)
        try:
            if not data:
                session.close_input()
                return
            await session.write(data)
        except BadRequest:  # the program's input is closed
            return


async def _put(fd: int, data: bytes, session: Session) -> None:
    """All of it, to a terminal, pipe or file that may be slow; when nobody reads it any more, the run is over."""
    try:
        await trio.to_thread.run_sync(_write_all, fd, data, abandon_on_cancel=True)
    except OSError:
        session.kill("nobody reads its output")


def _write_all(fd: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(fd, view) :]


async def _follow_window(session: Session) -> None:
    with trio.open_signal_receiver(signal.SIGWINCH) as changes:
        async for _ in changes:
            session.resize(window())


async def _pass_signals(session: Session, telling: trio.CancelScope) -> None:
    """What is sent to us is meant for the program; a second request to end is meant, even if its reader is stuck."""
    with trio.open_signal_receiver(signal.SIGINT, signal.SIGTERM, signal.SIGHUP) as signals:
        count = 0
        async for number in signals:
            count += 1
            if number == signal.SIGHUP or count > 1:
                session.kill("interrupted")
                telling.cancel()
            else:
                await session.signal(signal.Signals(number).name.removeprefix("SIG"))


@contextmanager
def _raw(fd: int) -> Generator[None]:
    """Our terminal passes every key on as it is; afterwards it is as it was."""
    before = termios.tcgetattr(fd)
    try:
        tty.setraw(fd, termios.TCSADRAIN)
        yield
    finally:
        with suppress(termios.error):  # the terminal has gone
            termios.tcsetattr(fd, termios.TCSADRAIN, before)


@contextmanager
def _as_it_is() -> Generator[None]:
    yield


def _status(ended: Ended) -> int:
    if ended.outcome is Outcome.EXITED or (ended.outcome is Outcome.COMPILE_ERROR and ended.code is not None):
        return ended.code or 0
    if ended.outcome is Outcome.SIGNAL:
        return 128 + signal.Signals[f"SIG{ended.signal}"]
    print(f"{style('runnerd:', '1;31', 2)} {ended.outcome}: {ended.message}", file=sys.stderr)
    return STATUS.get(ended.outcome, 1)


def read_file(file: Path) -> bytes:
    """The file to run. Raises BadRequest that says what is wrong with it."""
    try:
        return file.read_bytes()
    except OSError as problem:
        raise BadRequest(f"reading {file}: {problem.strerror} (errno {problem.errno})") from problem
