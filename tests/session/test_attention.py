"""When the session looks whether a program waits, on trio's autojump clock; the look itself is faked."""

import math
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any, cast

import pytest
import trio
from trio.testing import MockClock

from runnerd.session.attention import LOOKS, LOUD, QUIET, RECHECK, Attention
from runnerd.session.program import Program
from runnerd.session.viewer import Feed

from .fake_box import World


class Prog:
    """What Attention asks of a program."""

    def __init__(self) -> None:
        self.terminal = None
        self.ended = False
        self.reminded: list[float] = []
        self.settled = True

    def settle(self) -> bool:
        return self.settled

    def remind(self) -> bool:
        if self.ended:
            self.reminded.append(trio.current_time())
        return self.ended


class Bench:
    def __init__(self) -> None:
        self.feed = Feed(1 << 30, lambda: None, lambda: None)
        self.program = Prog()
        self.state = "running"
        self.told: list[tuple[float, str]] = []

    def tell(self, state: Any) -> None:
        if state != self.state:
            self.state = state
            self.told.append((trio.current_time(), state))


@asynccontextmanager
async def attending(world: World) -> AsyncGenerator[tuple[Bench, Attention]]:
    bench = Bench()
    attention = Attention(cast(Any, world), bench.feed, cast(Program, bench.program), bench.tell)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(attention.run)
        yield bench, attention
        nursery.cancel_scope.cancel()


async def test_a_program_that_waits_is_found_after_a_moment_of_quiet(world: World, autojump_clock: MockClock) -> None:
    world.waits = True
    begun = trio.current_time()
    async with attending(world) as (bench, _):
        await trio.sleep(1)
    assert bench.told == [(pytest.approx(begun + QUIET), "waiting")]
    assert len(world.looks) == pytest.approx(1 / RECHECK, abs=1)


async def test_waiting_is_not_told_before_the_output_before_it(world: World, autojump_clock: MockClock) -> None:
    world.waits = True
    async with attending(world) as (bench, _):
        bench.program.settled = False
        await trio.sleep(1)
        assert bench.told == []
        bench.program.settled = True
        await trio.sleep(0.05)
        assert bench.state == "waiting"


async def test_nobody_looks_while_output_flows(world: World, autojump_clock: MockClock) -> None:
    world.waits = True
    async with attending(world) as (bench, _):
        for _ in range(100):
            bench.feed.append("stdout", b"x")
            await trio.sleep(QUIET / 2)
        assert (world.looks, bench.told) == ([], [])
        await trio.sleep(QUIET * 2)
        assert bench.state == "waiting"


async def test_a_silent_computation_is_looked_at_often_enough_and_never_waiting(
    world: World, autojump_clock: MockClock
) -> None:
    async with attending(world) as (bench, _):
        await trio.sleep(5)
        assert bench.told == []
        gaps = [after - before for before, after in zip(world.looks, world.looks[1:], strict=False)]
        assert gaps[: len(LOOKS)] == pytest.approx(LOOKS)
        assert max(gaps) < 0.05
        assert len(world.looks) < 5 / 0.03
        world.waits = True
        await trio.sleep(0.05)
        assert bench.state == "waiting"


async def test_a_line_ends_the_waiting_at_once_and_a_key_does_not(world: World, autojump_clock: MockClock) -> None:
    world.waits = True
    async with attending(world) as (bench, attention):
        await trio.sleep(1)
        bench.feed.touch()
        attention.input(b"k")
        await trio.sleep(0.2)
        assert [state for _, state in bench.told] == ["waiting"]
        now = trio.current_time()
        bench.feed.touch()
        attention.input(b"k\n")
        assert bench.told[-1] == (now, "running")
        await trio.sleep(QUIET * 1.5)
        assert bench.state == "waiting", "it asks for the next line"


async def test_a_key_that_sets_a_program_going_is_noticed_soon(world: World, autojump_clock: MockClock) -> None:
    world.waits = True
    async with attending(world) as (bench, attention):
        await trio.sleep(1)
        world.waits = False
        bench.feed.touch()
        attention.input(b"k")
        await trio.sleep(QUIET * 1.5)
        assert bench.state == "running"


async def test_a_program_that_waits_no_more_is_noticed_with_its_output_or_a_little_later_without(
    world: World, autojump_clock: MockClock
) -> None:
    world.waits = True
    async with attending(world) as (bench, _):
        await trio.sleep(1)
        world.waits = False
        bench.feed.append("stdout", b"timed out")
        await trio.sleep(QUIET * 1.5)
        assert bench.state == "running"
        world.waits = True
        await trio.sleep(0.05)
        assert bench.state == "waiting"
        world.waits = False
        await trio.sleep(RECHECK * 1.01)
        assert bench.state == "running"


async def test_output_without_a_pause_is_no_waiting(world: World, autojump_clock: MockClock) -> None:
    world.waits = True
    async with attending(world) as (bench, _):
        await trio.sleep(1)
        for _ in range(math.ceil(LOUD / QUIET) * 4):
            bench.feed.append("stdout", b"x")
            await trio.sleep(QUIET / 2)
        assert bench.state == "running"


async def test_an_ended_input_is_ended_again_at_each_look_and_that_is_no_activity(
    world: World, autojump_clock: MockClock
) -> None:
    world.waits = True
    async with attending(world) as (bench, _):
        bench.program.ended = True
        active = bench.feed.active
        await trio.sleep(1)
        assert len(bench.program.reminded) == len(world.looks)
        assert len(world.looks) == pytest.approx(1 / LOOKS[-1], abs=5)
        assert bench.feed.active == active
