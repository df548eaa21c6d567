"""Admission, isolation of failures, and stopping, over fake boxes."""

import logging
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any, cast

import pytest
import trio
import trio.testing
from msgspec.structs import replace

from runnerd import toolchains
from runnerd.config import Boxes, Config, Profile
from runnerd.errors import BadRequest, Busy, NotFound, UnknownLanguage
from runnerd.sandbox.host import Host
from runnerd.sandbox.spec import BoxSpec, Limits, Outcome
from runnerd.session.registry import Registry
from runnerd.session.run import Run
from runnerd.session.session import Stay
from runnerd.session.viewer import Ended, Viewer
from runnerd.toolchains import Need, Toolchain, Toolchains

from .fake_box import Inside, World

RUN = Run("python", {"": b"code"}, mode="pipes")


class FakeHost:
    """Keeps what boxes were asked for."""

    state = None

    def __init__(self) -> None:
        self.asked: list[dict[str, Any]] = []

    def binds(self, toolchain: Toolchain | None) -> Any:
        return toolchain.binds if toolchain is not None else ()

    def spec(self, limits: Limits, *, binds: Any = (), widget: bool = False) -> BoxSpec:
        self.asked.append({"limits": limits, "binds": binds, "widget": widget})
        return BoxSpec(limits=limits)


@asynccontextmanager
async def registering(
    boxes: Boxes | None = None, languages: Toolchains | None = None, host: FakeHost | None = None, **options: Any
) -> AsyncGenerator[Registry]:
    config = Config(boxes=boxes or Boxes())
    async with trio.open_nursery() as nursery:
        yield Registry(cast(Host, host or FakeHost()), languages or toolchains.load(), config, nursery, **options)


async def silent(inside: Inside) -> None:
    return None


async def quick(inside: Inside) -> int:
    inside.out(b"done")
    return 0


async def ended(viewer: Viewer) -> Ended:
    while not isinstance(event := await viewer.next(), Ended):
        pass
    return event


@pytest.fixture(autouse=True)
def installed(monkeypatch: pytest.MonkeyPatch) -> None:
    """All languages, whatever this host has."""
    monkeypatch.setattr(Toolchains, "missing", lambda self, toolchain: [])


async def test_a_run_is_found_by_its_id_and_counted_until_it_is_over(world: World) -> None:
    world.programs = [quick]
    async with registering() as registry:
        session = await registry.start(RUN)
        assert session.id.startswith("n1-")
        assert registry.sessions == {session.id: session}
        assert (registry.status().boxes, registry.status().started) == (1, 1)
        assert (await ended(session.viewer())).outcome is Outcome.EXITED
    status = registry.status()
    assert registry.sessions == {}
    assert (status.boxes, status.boxes_max, status.queued, status.draining) == (0, 64, 0, False)
    assert status.ended["exited"] == 1
    assert sum(status.ended.values()) == 1
    assert set(status.ended) == {outcome.value for outcome in Outcome}


async def test_a_run_gets_its_profile_its_wishes_and_its_toolchains_needs(world: World) -> None:
    world.programs = [quick]
    host = FakeHost()
    languages = toolchains.load()
    java = replace(languages.get("java"), raises={"memory": 1 << 30}, binds=(("/here", "/there"),))
    async with registering(host=host, languages=Toolchains({"java": java}, {"java": "java"})) as registry:
        await registry.start(Run("java", {"": b"class Main {}"}, limits={"wall": 3}), profile="widget")
    [asked] = host.asked
    assert asked["widget"]
    assert asked["binds"] == (("/here", "/there"),)
    assert (asked["limits"].memory, asked["limits"].wall) == (1 << 30, 3)
    assert asked["limits"].processes == Config().profiles["widget"].processes
    assert [inside.launch.argv[0] for inside in world.boxes[0].insides] == ["javac", "java"]


async def test_a_command_instead_of_a_language(world: World) -> None:
    world.programs = [quick]
    async with registering() as registry:
        await registry.start(Run(argv=("bash", "-l"), args=("x",), files={"a/b": b"1"}, mode="pipes"))
    [inside] = world.boxes[0].insides
    assert inside.launch.argv == ("bash", "-l", "x")
    assert inside.files == {"a/b": b"1"}


async def test_what_cannot_run_is_refused_and_takes_no_box(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    async with registering() as registry:
        with pytest.raises(UnknownLanguage):
            await registry.start(Run("cobol"))
        with pytest.raises(UnknownLanguage):
            await registry.start(Run())
        with pytest.raises(NotFound):
            await registry.start(RUN, profile="nope")
        with pytest.raises(BadRequest):
            await registry.start(replace(RUN, files={}))
        with pytest.raises(BadRequest):
            await registry.start(replace(RUN, env={"": ""}))
        with pytest.raises(BadRequest):
            await registry.start(replace(RUN, limits={"wall": -1}))
        need = [Need("/usr/bin/python3", "python3")]
        monkeypatch.setattr(Toolchains, "missing", lambda self, toolchain: need)
        with pytest.raises(UnknownLanguage) as caught:
            await registry.start(RUN)
        assert "python3" in caught.value.hint
    assert world.boxes == []
    assert registry.status().started == 0


async def test_when_all_boxes_are_taken_runs_wait_in_order_and_beyond_the_queue_are_refused(world: World) -> None:
    world.programs = [silent]
    order: list[str] = []

    async def ask(name: str) -> None:
        session = await registry.start(RUN)
        order.append(name)
        session.kill()

    async with registering(Boxes(max=1, queue=2, queue_wait=60)) as registry:
        first = await registry.start(RUN)
        async with trio.open_nursery() as nursery:
            for name in "ab":
                nursery.start_soon(ask, name)
                await trio.testing.wait_all_tasks_blocked()
            assert registry.status().queued == 2
            with pytest.raises(Busy) as caught:
                await registry.start(RUN)
            assert caught.value.retry_after == 60
            first.kill()
    assert order == ["a", "b"]
    assert registry.status().queued == 0


async def test_a_box_is_free_again_only_when_it_is_gone(world: World) -> None:
    world.programs = [quick]
    world.reaping = trio.Event()
    async with registering(Boxes(max=1, queue=0)) as registry:
        session = await registry.start(RUN)
        await ended(session.viewer())
        with pytest.raises(Busy):
            await registry.start(RUN)
        world.reaping.set()


async def test_a_run_waits_no_longer_than_the_time_given(world: World, autojump_clock: trio.testing.MockClock) -> None:
    world.programs = [silent]
    async with registering(Boxes(max=1, queue=1, queue_wait=5)) as registry:
        first = await registry.start(RUN)
        before = trio.current_time()
        with pytest.raises(Busy):
            await registry.start(RUN)
        assert trio.current_time() - before == pytest.approx(5)
        assert registry.status().queued == 0
        first.kill()


async def test_a_client_that_goes_away_in_the_queue_leaves_its_place(world: World) -> None:
    world.programs = [silent]
    async with registering(Boxes(max=1, queue=1, queue_wait=60)) as registry:
        first = await registry.start(RUN)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(registry.start, RUN)
            await trio.testing.wait_all_tasks_blocked()
            nursery.cancel_scope.cancel()
        assert registry.status().queued == 0
        first.kill()
    assert registry.status().boxes == 0


async def test_the_time_in_the_queue_counts_in_the_timings(
    world: World, autojump_clock: trio.testing.MockClock
) -> None:
    world.programs = [silent, quick]
    async with registering(Boxes(max=1, queue=1, queue_wait=60)) as registry:
        first = await registry.start(RUN)

        async def kill() -> None:
            await trio.sleep(2)
            first.kill()

        async with trio.open_nursery() as nursery:
            nursery.start_soon(kill)
            second = await registry.start(RUN)
            second.kill()
    assert second.ended is not None
    assert second.ended.timings["end"] == pytest.approx(2000, abs=50)


async def test_a_session_that_goes_wrong_is_logged_and_harms_no_other(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    async with registering() as registry:
        world.programs = [silent]
        good = await registry.start(RUN)
        viewer = good.viewer()
        await viewer.next()
        world.start_error = ZeroDivisionError("a bug")
        bad = await registry.start(RUN)
        last = await ended(bad.viewer())
        assert last.outcome is Outcome.FAILED
        assert "a bug" not in last.message
        assert good.ended is None
        good.kill()
    [record] = [record for record in caplog.records if record.levelno == logging.ERROR]
    assert record.exc_info is not None
    assert (record.__dict__["session"], record.__dict__["language"]) == (bad.id, "python")
    assert record.__dict__["outcome"] == "failed"
    assert registry.status().ended["failed"] == 1


async def test_each_end_is_logged(world: World, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    world.programs = [quick]
    async with registering() as registry:
        session = await registry.start(RUN)
    [record] = [record for record in caplog.records if record.message == "session ended"]
    fields = record.__dict__
    assert (fields["session"], fields["outcome"], fields["code"]) == (session.id, "exited", 0)


async def test_an_ended_session_can_be_looked_at_for_a_while_when_that_is_wanted(
    world: World, autojump_clock: trio.testing.MockClock
) -> None:
    world.programs = [quick]
    async with registering() as registry:
        session = await registry.start(RUN, stay=Stay(linger=60))
        await ended(session.viewer())
        await trio.sleep(59)
        assert registry.sessions == {session.id: session}
        assert registry.status().boxes == 0
        assert (await ended(session.viewer())).outcome is Outcome.EXITED
        await trio.sleep(2)
        assert registry.sessions == {}


async def test_draining_refuses_new_runs_and_waits_for_the_others(
    world: World, autojump_clock: trio.testing.MockClock
) -> None:
    async def slow(inside: Inside) -> int:
        await trio.sleep(10)
        return 0

    world.programs = [slow]
    async with registering(Boxes(max=1, queue=1, queue_wait=60)) as registry:
        session = await registry.start(RUN)
        refused: list[Busy] = []

        async def queued() -> None:
            with pytest.raises(Busy) as caught:
                await registry.start(RUN)
            refused.append(caught.value)

        async with trio.open_nursery() as nursery:
            nursery.start_soon(queued)
            await trio.testing.wait_all_tasks_blocked()
            nursery.start_soon(registry.drain, 100)
            await trio.sleep(1)
            assert registry.status().draining
            assert len(refused) == 1
            with pytest.raises(Busy):
                await registry.start(RUN)
            assert session.ended is None
        assert trio.current_time() == pytest.approx(10, abs=1)
        assert session.ended is not None
        assert session.ended.outcome is Outcome.EXITED


async def test_draining_ends_what_goes_on_for_too_long_and_waits_for_its_box(
    world: World, autojump_clock: trio.testing.MockClock
) -> None:
    world.programs = [silent]
    async with registering() as registry:
        session = await registry.start(RUN)
        await registry.drain(5)
        assert trio.current_time() == pytest.approx(5, abs=1)
        assert session.ended is not None
        assert (session.ended.outcome, session.ended.message) == (Outcome.KILLED, "the daemon stops")
        assert registry.status().boxes == 0
        await registry.drain(5)


async def test_sessions_of_a_nursery_that_is_cancelled_tell_their_end(world: World) -> None:
    world.programs = [silent]
    async with trio.open_nursery() as nursery:
        registry = Registry(cast(Host, FakeHost()), toolchains.load(), Config(), nursery)
        session = await registry.start(RUN)
        await session.viewer().next()
        nursery.cancel_scope.cancel()
    assert session.ended is not None
    assert session.ended.outcome is Outcome.KILLED
    assert registry.status().boxes == 0
    assert registry.sessions == {}


async def test_a_profile_may_have_no_limits_of_time(world: World) -> None:
    world.programs = [quick]
    host = FakeHost()
    config = Config(profiles={"free": Profile(wall=0, idle=0, cpu=0)})
    async with trio.open_nursery() as nursery:
        registry = Registry(cast(Host, host), toolchains.load(), config, nursery)
        await registry.start(RUN, profile="free")
    assert (host.asked[0]["limits"].wall, host.asked[0]["limits"].cpu) == (0, 0)


async def test_under_pressure_new_runs_wait_in_order_until_it_falls(
    world: World, autojump_clock: trio.testing.MockClock
) -> None:
    world.programs = [silent]
    order: list[str] = []
    short = "the host is short of memory"

    async def ask(name: str) -> None:
        session = await registry.start(RUN)
        order.append(f"{name} at {trio.current_time():.0f}")
        session.kill()

    async with registering(Boxes(max=8, queue=2, queue_wait=60), pressed=lambda: short) as registry:
        async with trio.open_nursery() as nursery:
            for name in "ab":
                nursery.start_soon(ask, name)
                await trio.testing.wait_all_tasks_blocked()
            assert (registry.status().queued, world.boxes) == (2, [])
            with pytest.raises(Busy, match="short of memory, and 2 runs wait"):
                await registry.start(RUN)
            await trio.sleep(9.9)
            short = ""
    assert order == ["a at 10", "b at 10"]
    assert (registry.status().queued, registry.status().boxes) == (0, 0)


async def test_pressure_that_does_not_fall_makes_the_daemon_busy(
    world: World, autojump_clock: trio.testing.MockClock
) -> None:
    world.programs = [silent]
    async with registering(Boxes(queue_wait=5), pressed=lambda: "the host is short of CPU time") as registry:
        with pytest.raises(Busy, match="CPU time, and was not relieved within 5 s") as caught:
            await registry.start(RUN)
        assert caught.value.retry_after == trio.current_time() == 5
    assert (registry.status().queued, registry.status().boxes, world.boxes) == (0, 0, [])


async def test_pressure_leaves_what_runs_alone(world: World, autojump_clock: trio.testing.MockClock) -> None:
    world.programs = [silent]
    short = ""
    async with registering(Boxes(queue_wait=5), pressed=lambda: short) as registry:
        session = await registry.start(RUN)
        short = "the host is short of memory"
        with pytest.raises(Busy):
            await registry.start(RUN)
        assert session.ended is None
        session.kill()


async def test_draining_under_pressure(world: World, autojump_clock: trio.testing.MockClock) -> None:
    async with registering(Boxes(queue_wait=60), pressed=lambda: "the host is short of memory") as registry:
        async with trio.open_nursery() as nursery:

            async def queued() -> None:
                with pytest.raises(Busy, match="stopping"):
                    await registry.start(RUN)

            nursery.start_soon(queued)
            await trio.testing.wait_all_tasks_blocked()
            await registry.drain(100)
    assert trio.current_time() < 1


async def test_new_settings_are_for_what_comes_after_them(world: World) -> None:
    world.programs = [silent, silent, silent]
    host = FakeHost()
    async with registering(Boxes(max=1, queue=1), host=host) as registry:
        await registry.start(RUN)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(registry.start, RUN)
            await trio.testing.wait_all_tasks_blocked()
            assert (registry.status().boxes, registry.status().queued) == (1, 1)
            profiles = {"default": Profile(wall=7.0)}
            registry.adopt(Config(boxes=Boxes(max=2, queue=0), profiles=profiles))  # there is room for who waits
        assert (registry.status().boxes, registry.status().boxes_max) == (2, 2)
        with pytest.raises(Busy, match="all 2 boxes are taken, and 0 runs wait"):
            await registry.start(RUN)
        registry.adopt(Config(boxes=Boxes(max=1), profiles=profiles))  # ends nothing
        assert registry.status().boxes == 2
        registry.adopt(Config(boxes=Boxes(max=3), profiles=profiles))
        await registry.start(RUN)
        assert host.asked[-1]["limits"].wall == 7.0
        await registry.drain(0)
