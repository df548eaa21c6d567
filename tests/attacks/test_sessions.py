"""What a program can do to the daemon's own patience and memory, in real boxes; each with its bound, and without."""

import os
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import trio

from runnerd import toolchains
from runnerd.config import Config
from runnerd.errors import BadRequest
from runnerd.sandbox.host import Host
from runnerd.sandbox.spec import Mode
from runnerd.session import box_run, program
from runnerd.session.registry import Registry
from runnerd.session.run import Run
from runnerd.session.session import Session
from runnerd.session.viewer import Ended, Started

pytestmark = pytest.mark.attack

MiB = 1024 * 1024
LANGUAGES = toolchains.load()
PATIENCE = 100.0
HELD = 3.0
"""Seconds that a control waits for the end of output in place of a tenth of one."""


@asynccontextmanager
async def running(host: Host, *argv: str, mode: Mode = "terminal") -> AsyncGenerator[Session]:
    with trio.fail_after(PATIENCE):
        async with trio.open_nursery() as nursery:
            registry = Registry(host, LANGUAGES, Config(), nursery)
            session = await registry.start(Run(argv=argv, mode=mode))
            viewer = session.viewer()
            while not isinstance(await viewer.next(), Started):
                pass
            yield session
            session.kill()


def kept() -> int:
    """Bytes of memory that this process has for itself."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("RssAnon:"):
            return int(line.split()[1]) * 1024
    raise AssertionError("no RssAnon")


async def typed(session: Session, most: int) -> int:
    """How many bytes are taken of `most` that are typed at a program that reads nothing."""
    taken = 0
    try:
        while taken < most:
            await session.write(os.urandom(MiB // 2))
            taken += MiB // 2
    except BadRequest as problem:
        assert problem.code == "input_overflow"
    return taken


@pytest.mark.parametrize("mode", ["terminal", "split", "pipes"])
async def test_input_that_nobody_reads_is_held_to_a_bound(host: Host, mode: Mode) -> None:
    async with running(host, "sleep", "1000", mode=mode) as session:
        before = kept()
        assert await typed(session, 64 * MiB) <= program.INPUT_MAX + MiB // 2
        assert kept() - before < 8 * MiB


async def test_input_that_nobody_reads_without_the_bound(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(program, "INPUT_MAX", 1 << 40)
    async with running(host, "sleep", "1000") as session:
        before = kept()
        assert await typed(session, 64 * MiB) == 64 * MiB
        assert kept() - before > 32 * MiB


STRAY = "(trap '' HUP; exec sleep 1000) & echo done"
"""A child that leaves its parent and keeps what it writes to."""


async def lasted(host: Host, mode: Mode) -> float:
    """Seconds from the end of the program, whose child lives on, until the session tells of it."""
    with trio.fail_after(PATIENCE):
        async with trio.open_nursery() as nursery:
            session = await Registry(host, LANGUAGES, Config(), nursery).start(
                Run(argv=("bash", "-c", STRAY), mode=mode)
            )
            viewer = session.viewer()
            while not isinstance(event := await viewer.next(), Ended):
                pass
            assert event.outcome == "exited"
            return event.usage.wall


@pytest.mark.parametrize("mode", ["terminal", "split", "pipes"])
async def test_a_child_that_keeps_the_output_does_not_hold_the_end(host: Host, mode: Mode) -> None:
    assert await lasted(host, mode) < HELD


async def test_a_child_that_keeps_the_output_without_the_bound(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of pipes, whose end is waited for; on a terminal the program's own end is enough, since its leader keeps it."""
    monkeypatch.setattr(box_run, "DRAIN_SECONDS", HELD)
    assert await lasted(host, "pipes") >= HELD
