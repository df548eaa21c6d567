"""The pool, with boxes that are not there and a clock that jumps."""

import errno
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, cast

import pytest
import trio

from runnerd.config import Pool as Settings
from runnerd.errors import BoxError, SetupError
from runnerd.sandbox import pool as module
from runnerd.sandbox.host import Host
from runnerd.sandbox.keeper import Used
from runnerd.sandbox.pool import BACKOFF, LOOK, PATIENCE, Kind, Pool, Ready, Stock
from runnerd.sandbox.spec import BoxSpec, Launch, Limits, MiB

SPEC = BoxSpec()
KIND = Kind(SPEC, "python")
OTHER = Kind(SPEC, "node")
WAITING = Kind(SPEC, "python", zygotes=(("program", Launch(("python3", "main.py"), {})),))


class FakeZygote:
    def __init__(self, launch: Launch) -> None:
        self.launch = launch
        self.alive, self.closed = True, False

    def waits(self) -> bool:
        return self.alive

    def close(self) -> None:
        self.closed = True


class FakeBox:
    def __init__(self, spec: BoxSpec, world: "World") -> None:
        self.spec, self._world = spec, world
        self.ended = trio.Event()
        self.zygotes: list[FakeZygote] = []

    async def alive(self) -> None:
        await trio.sleep(self._world.makes)

    async def prepare(self, launch: Launch) -> FakeZygote:
        await trio.sleep(self._world.makes)
        if self._world.zygote_error is not None:
            raise self._world.zygote_error
        self.zygotes.append(FakeZygote(launch))
        return self.zygotes[-1]

    def healthy(self) -> bool:
        return not self.ended.is_set()

    def used(self) -> Used:
        return Used(peak=self._world.size)

    def kill(self) -> None:
        self.ended.set()


class World:
    def __init__(self) -> None:
        self.boxes: list[FakeBox] = []
        self.living = 0
        self.makes = 0.01
        self.size = 10 * MiB
        self.open_error: Exception | None = None
        self.zygote_error: Exception | None = None
        self.own_error: Exception | None = None
        self.short = ""

    @asynccontextmanager
    async def open_box(self, host: object, spec: BoxSpec) -> AsyncGenerator[FakeBox]:
        if self.open_error is not None:
            raise self.open_error
        box = FakeBox(spec, self)
        self.boxes.append(box)
        self.living += 1
        try:
            yield box
        finally:
            box.kill()
            with trio.CancelScope(shield=True):
                await trio.sleep(self.makes)
            self.living -= 1
        if self.own_error is not None:
            raise self.own_error


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> World:
    world = World()
    monkeypatch.setattr(module, "open_box", world.open_box)
    return world


def box_of(ready: Ready) -> FakeBox:
    return cast(FakeBox, ready.box)


@asynccontextmanager
async def running(world: World, **settings: Any) -> AsyncGenerator[Pool]:
    pool = Pool(cast(Host, None), Settings(**settings), lambda: world.short)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(pool.run)
        yield pool
        nursery.cancel_scope.cancel()
    assert world.living == 0


async def filled(pool: Pool) -> None:
    await trio.sleep(PATIENCE + 2 * LOOK)


def stock(pool: Pool, language: str = "python") -> Stock:
    return next(stock for stock in pool.stocks() if stock.language == language)


async def test_the_first_run_of_a_kind_is_cold_and_the_next_finds_a_box(
    world: World, autojump_clock: trio.testing.MockClock
) -> None:
    async with running(world) as pool:
        async with pool.box(KIND) as first:
            assert box_of(first) is world.boxes[0]
        await filled(pool)
        made = len(world.boxes)
        async with pool.box(KIND) as second:
            assert box_of(second) in world.boxes[1:made]
        counts = stock(pool)
        assert (counts.hits, counts.misses) == (1, 1)


async def test_a_box_is_used_once(world: World, autojump_clock: trio.testing.MockClock) -> None:
    async with running(world) as pool:
        pool.keep(KIND)
        used: list[FakeBox] = []
        for _ in range(20):
            async with pool.box(KIND) as ready:
                used.append(box_of(ready))
                assert not used[-1].ended.is_set()
            assert used[-1].ended.is_set()
            await trio.sleep(0.1)
        assert len(set(used)) == 20


async def test_a_run_leaves_only_when_nothing_of_its_box_is_left(
    world: World, autojump_clock: trio.testing.MockClock
) -> None:
    async with running(world, ceiling=1) as pool:
        pool.keep(KIND)
        await filled(pool)
        async with pool.box(KIND):
            await filled(pool)
            assert world.living == 2  # its own, and the next run's
        assert world.living == 1


async def test_zygotes_come_with_their_box(world: World, autojump_clock: trio.testing.MockClock) -> None:
    async with running(world) as pool:
        pool.keep(WAITING)
        await filled(pool)
        async with pool.box(WAITING) as ready:
            (zygote,) = box_of(ready).zygotes
            assert ready.zygotes == {"program": zygote}
            assert zygote.launch == WAITING.zygotes[0][1]
        assert zygote.closed


async def test_the_stock_follows_the_arrivals_between_floor_and_ceiling(
    world: World, autojump_clock: trio.testing.MockClock
) -> None:
    async with running(world, floor=1, ceiling=6) as pool:
        async with pool.box(KIND):
            pass
        await trio.sleep(30)
        assert stock(pool).idle == 1
        for _ in range(100):
            async with pool.box(KIND):
                await trio.sleep(0.05)
        await filled(pool)
        assert stock(pool).idle == 6
        await trio.sleep(120)
        assert stock(pool).idle == 1


async def test_what_nobody_asks_for_is_forgotten_unless_it_is_kept(
    world: World, autojump_clock: trio.testing.MockClock
) -> None:
    async with running(world, forget=60.0) as pool:
        pool.keep(OTHER)
        async with pool.box(KIND):
            pass
        await filled(pool)
        assert {stock.language for stock in pool.stocks()} == {"python", "node"}
        await trio.sleep(100)
        assert [stock.language for stock in pool.stocks()] == ["node"]
        assert world.living == 1


async def test_nothing_waits_where_the_ceiling_is_zero(world: World, autojump_clock: trio.testing.MockClock) -> None:
    async with running(world, ceiling=0) as pool:
        for _ in range(5):
            async with pool.box(KIND):
                await filled(pool)
                assert world.living == 1
        assert world.living == 0


async def test_a_burst_beyond_the_stock_is_served_cold(world: World, autojump_clock: trio.testing.MockClock) -> None:
    async with running(world, ceiling=2) as pool:
        pool.keep(KIND)
        await filled(pool)
        served: list[FakeBox] = []

        async def one() -> None:
            async with pool.box(KIND) as ready:
                served.append(box_of(ready))
                await trio.sleep(1)

        async with trio.open_nursery() as nursery:
            for _ in range(20):
                nursery.start_soon(one)
        assert len(set(served)) == 20


async def test_making_boxes_gives_way_to_arrivals(world: World, autojump_clock: trio.testing.MockClock) -> None:
    world.makes = 0.0
    async with running(world, ceiling=1) as pool:
        began = trio.current_time()
        while trio.current_time() - began < PATIENCE / 2:
            async with pool.box(KIND):
                await trio.sleep(0.001)
        assert stock(pool).made == 0
        await trio.sleep(PATIENCE)
        assert stock(pool).made == 1


@pytest.mark.parametrize(
    "spoil",
    [
        pytest.param(lambda box: box.ended.set(), id="the box has died"),
        pytest.param(lambda box: setattr(box.zygotes[0], "alive", False), id="its waiting program has died"),
    ],
)
async def test_what_has_died_while_it_waited_is_given_to_nobody(
    world: World, autojump_clock: trio.testing.MockClock, spoil: Callable[[FakeBox], None]
) -> None:
    async with running(world, ceiling=1) as pool:
        pool.keep(WAITING)
        await filled(pool)
        dead = world.boxes[-1]
        spoil(dead)
        async with pool.box(WAITING) as ready:  # at once, before anybody could notice
            assert box_of(ready) is not dead
            assert box_of(ready).healthy()
        assert stock(pool).discarded >= 1


async def test_a_box_that_died_is_replaced(world: World, autojump_clock: trio.testing.MockClock) -> None:
    async with running(world, ceiling=1) as pool:
        pool.keep(KIND)
        await filled(pool)
        world.boxes[-1].kill()
        await filled(pool)
        assert stock(pool).idle == 1
        assert world.boxes[-1].healthy()


@pytest.mark.parametrize("error", [OSError(errno.EMFILE, "full"), ExceptionGroup("", [OSError(errno.EMFILE, "full")])])
async def test_trouble_of_a_box_that_waits_is_its_own(
    world: World, autojump_clock: trio.testing.MockClock, caplog: pytest.LogCaptureFixture, error: Exception
) -> None:
    async with running(world) as pool:
        pool.keep(KIND)
        await filled(pool)
        world.own_error = error
        world.boxes[0].kill()
        await filled(pool)
        assert len(world.boxes) == 2
        assert "a box made ahead broke" in caplog.text
        assert world.living == stock(pool).idle == 1
        world.own_error = None


async def test_a_replaced_program_makes_waiting_boxes_stale(
    world: World, autojump_clock: trio.testing.MockClock, tmp_path: Path
) -> None:
    program = tmp_path / "python3"
    program.write_text("3.11")
    kind = Kind(SPEC, "python", programs=(str(program),))
    async with running(world, ceiling=1) as pool:
        pool.keep(kind)
        await filled(pool)
        old = world.boxes[-1]
        program.unlink()
        async with pool.box(kind) as ready:
            assert box_of(ready) is not old
        program.write_text("3.12, which is longer")
        await filled(pool)
        assert old.ended.is_set()
        async with pool.box(kind) as ready:
            assert box_of(ready) is world.boxes[-1]
            assert stock(pool).hits == 1


async def test_old_boxes_are_replaced(world: World, autojump_clock: trio.testing.MockClock) -> None:
    async with running(world, age=30.0, ceiling=1) as pool:
        pool.keep(KIND)
        await filled(pool)
        old = world.boxes[-1]
        await trio.sleep(40)
        assert old.ended.is_set()
        assert stock(pool).idle == 1


async def test_under_pressure_what_waits_is_given_up_and_nothing_made(
    world: World, autojump_clock: trio.testing.MockClock
) -> None:
    async with running(world) as pool:
        pool.keep(KIND)
        await filled(pool)
        world.short = "the host is short of memory"
        await trio.sleep(2 * LOOK)
        assert world.living == 0
        async with pool.box(KIND):
            await filled(pool)
            assert world.living == 1
        world.short = ""
        await filled(pool)
        assert stock(pool).idle == 1


async def test_the_memory_budget_holds_and_what_is_rarer_gives_way(
    world: World, autojump_clock: trio.testing.MockClock
) -> None:
    async with running(world, memory=47 * MiB, ceiling=8) as pool:
        for number in range(8):
            async with pool.box(Kind(BoxSpec(limits=Limits(wall=number + 1.0)), "rare")):
                pass
        await filled(pool)
        assert world.living == 4  # of 10 MiB each
        for _ in range(100):
            async with pool.box(KIND):
                await trio.sleep(0.05)
        await filled(pool)
        assert world.living == 4
        assert stock(pool).idle == 4


@pytest.mark.parametrize(
    "problem", [BoxError("the interpreter did not wait"), OSError(errno.EMFILE, "Too many open files")]
)
async def test_a_kind_that_cannot_be_made_ahead_is_cold_and_tried_more_and_more_seldom(
    world: World, autojump_clock: trio.testing.MockClock, caplog: pytest.LogCaptureFixture, problem: Exception
) -> None:
    world.zygote_error = problem
    async with running(world) as pool:
        pool.keep(WAITING)
        async with pool.box(WAITING) as ready:
            assert ready.zygotes == {}
        await trio.sleep(20 * BACKOFF)
        tries = len(world.boxes)
        assert 3 <= tries <= 7
        assert "no box could be made ahead" in caplog.text
        world.zygote_error = None
        await trio.sleep(60)
        assert stock(pool).idle == 1


async def test_an_error_of_a_cold_box_is_the_callers(world: World, autojump_clock: trio.testing.MockClock) -> None:
    async with running(world) as pool:
        world.open_error = SetupError("no uid is free")
        with pytest.raises(SetupError):
            async with pool.box(KIND):
                raise AssertionError


async def test_new_settings_count_at_once(world: World, autojump_clock: trio.testing.MockClock) -> None:
    async with running(world, floor=3) as pool:
        pool.keep(KIND)
        await filled(pool)
        assert stock(pool).idle == 3
        pool.adopt(Settings(floor=0, ceiling=0))
        await trio.sleep(0.1)
        assert world.living == 0


def test_equal_kinds_are_those_whose_boxes_nobody_could_tell_apart() -> None:
    def waiting(env: Mapping[str, str], argv: Sequence[str] = ("python3",)) -> Kind:
        return Kind(SPEC, "python", zygotes=(("program", Launch(tuple(argv), dict(env))),))

    assert waiting({"A": "1"}) == waiting({"A": "1"})
    assert hash(waiting({"A": "1"})) == hash(waiting({"A": "1"}))
    assert len({waiting({"A": "1"}), waiting({"A": "2"}), waiting({"A": "1"}, ["python3", "x"]), KIND, OTHER}) == 5
    assert Kind(SPEC, "python", profile="default") == Kind(SPEC, "python", profile="execute")


async def test_a_pool_that_is_stopped_takes_its_boxes_with_it_and_lets_runs_end(
    world: World, autojump_clock: trio.testing.MockClock
) -> None:
    async with trio.open_nursery() as outer:
        async with running(world) as pool:
            pool.keep(KIND)
            await filled(pool)

            async def one() -> None:
                async with pool.box(KIND) as ready:
                    await box_of(ready).ended.wait()

            outer.start_soon(one)
            await trio.sleep(0.1)
            assert stock(pool).hits == 1
    assert world.living == 0
