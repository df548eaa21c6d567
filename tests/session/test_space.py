"""The life of a space, by the clock: its members, keys, timers and texts. Its box is a fake."""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any

import pytest
import trio
import trio.lowlevel

from runnerd.config import Spaces as Settings
from runnerd.errors import BoxError, Busy, InitRefused
from runnerd.sandbox.spec import BoxSpec, Limits, Outcome
from runnerd.session.members import NEWS_MAX, PROGRAMS_MAX, Came, Changed, Left, Missed, Over, Refused, Warned
from runnerd.session.space import Space, SpaceEnded
from runnerd.session.viewer import Ended
from runnerd.session.workspace import WAITING_MAX, WEIGHT

from .fake_tree import TreeBox

SPEC = BoxSpec(limits=Limits(wall=1000.0, idle=300.0))


@asynccontextmanager
async def living(box: TreeBox | None = None, **settings: Any) -> AsyncGenerator[tuple[Space, TreeBox]]:
    box = box or TreeBox()
    opening: Any = box.live
    space = Space("n1-0", opening, SPEC, Settings(**settings), None, {})
    async with trio.open_nursery() as nursery:
        nursery.start_soon(space.serve)
        await space.up()
        yield space, box
        space.kill("the test is over")
        await space.over.wait()
    assert box.reaped


async def until_over(space: Space) -> float:
    """Seconds until it has ended."""
    began = trio.current_time()
    await space.over.wait()
    return trio.current_time() - began


async def test_it_ends_when_nobody_comes_back(autojump_clock: trio.testing.MockClock) -> None:
    async with living(grace=100.0) as (space, _):
        ada, bob = (space.join(name, "", host=False) for name in ("ada", "bob"))
        await trio.sleep(150)
        space.leave(ada)
        await trio.sleep(120)
        space.leave(bob)
        await trio.sleep(90)
        ada = space.join("ada", "", host=False)
        await trio.sleep(150)
        space.leave(ada)
        assert await until_over(space) == pytest.approx(100)
        assert space.reason == "nobody came back"


async def test_nobody_comes_at_all(autojump_clock: trio.testing.MockClock) -> None:
    async with living() as (space, _):
        assert await until_over(space) == pytest.approx(300), "its idle time is shorter than the grace"
    async with living(grace=20.0) as (space, _):
        assert await until_over(space) == pytest.approx(20)


async def test_idleness_is_told_before_it_ends_a_space(autojump_clock: trio.testing.MockClock) -> None:
    async with living() as (space, _):
        ada = space.join("ada", "", host=True)
        for _ in range(2):
            began = trio.current_time()
            (warned,) = await ada.news()
            assert isinstance(warned, Warned)
            assert (warned.seconds, trio.current_time() - began) == (pytest.approx(60), pytest.approx(240))
            space.stir()
        assert isinstance((await ada.news())[0], Warned)
        (over,) = await ada.news()
        assert isinstance(over, Over)
        assert "no input or output for 300 s" in over.error.message
        assert trio.current_time() - began == pytest.approx(540)


async def test_its_life_is_told_before_it_ends(autojump_clock: trio.testing.MockClock) -> None:
    async with living() as (space, _):
        ada = space.join("ada", "", host=True)
        began = trio.current_time()

        async def busy() -> None:
            while True:
                await trio.sleep(50)
                space.stir()

        async with trio.open_nursery() as nursery:
            nursery.start_soon(busy)
            (warned,) = await ada.news()
            assert isinstance(warned, Warned)
            assert "lived for 1000 s" in warned.message
            assert trio.current_time() - began == pytest.approx(940)
            (over,) = await ada.news()
            assert isinstance(over, Over)
            assert trio.current_time() - began == pytest.approx(1000)
            nursery.cancel_scope.cancel()


async def test_a_timer_that_is_late(mock_clock: trio.testing.MockClock) -> None:
    async with living() as (space, _):
        ada = space.join("ada", "", host=True)
        await trio.testing.wait_all_tasks_blocked()
        mock_clock.jump(2000)
        (over,) = await ada.news()
        assert isinstance(over, Over)
        assert "for 300 s" in over.error.message


async def test_join_keys_expire_and_are_renewed(autojump_clock: trio.testing.MockClock) -> None:
    async with living(join_valid=50.0) as (space, _):
        first = space.join_key.text
        space.join("ada", "", host=True)
        assert space.opens(first)
        assert not space.opens(first + "0")
        assert not space.opens("é")
        await trio.sleep(49)
        assert space.opens(first)
        await trio.sleep(2)
        assert not space.opens(first)
        second = space.join_key.renew()
        assert second != first
        assert (space.opens(first), space.opens(second)) == (False, True)
        third = space.join_key.renew()
        assert (space.opens(second), space.opens(third)) == (False, True)
    assert not space.opens(third), "it has ended"
    async with living(join_valid=0.0) as (space, _):
        await trio.sleep(250)
        assert space.opens(space.join_key.text)


async def test_members_hear_of_each_other() -> None:
    async with living(members=3) as (space, _):
        ada = space.join("ada", "#1", host=True)
        bob = space.join("bob", "#2", host=False)
        third = space.join("bob", "#3", host=False)
        assert [member.user for member in space.members] == ["ada", "bob", "bob 2"]
        with pytest.raises(Busy):
            space.join("eve", "", host=False)
        space.leave(bob)
        fourth = space.join("bob", "", host=False)
        assert fourth.user == "bob"
        space.changed(ada, "create", "x")
        assert await ada.news() == [Came(bob), Came(third), Left(bob), Came(fourth)]
        assert await third.news() == [Left(bob), Came(fourth), Changed(ada, "create", "x")]
        assert await fourth.news() == [Changed(ada, "create", "x")]


async def test_who_takes_no_news_is_told_so() -> None:
    async with living() as (space, _):
        ada, bob = space.join("ada", "", host=True), space.join("bob", "", host=False)
        for number in range(NEWS_MAX + 3):
            space.changed(ada, "create", str(number))
        news = await bob.news()
        assert news[0] == Missed()
        assert len(news) == 4
        for _ in range(NEWS_MAX):
            space.changed(ada, "write", "x")
        assert await bob.news() == [Changed(ada, "write", "x")], "the same once more is no news"


async def test_of_a_burst_the_last_text_is_written() -> None:
    async with living() as (space, box):
        ada, bob = space.join("ada", "", host=True), space.join("bob", "", host=False)
        await ada.news()
        box.may_write = trio.Event()
        space.write(ada, "x", b"0")
        await trio.testing.wait_all_tasks_blocked()
        for number in range(1, 100):
            space.write(ada if number % 2 else bob, "x", b"%d" % number)
            space.write(bob, "full/x", b"")
        box.may_write.set()
        await space.files.list("")
        assert box.files == {"x": b"99"}
        assert box.writes == ["x", "x", "full/x"]
        refused = await bob.news()
        assert [type(each) for each in refused] == [Changed, Refused]
        assert isinstance(refused[-1], Refused)
        assert isinstance(refused[-1].error, InitRefused)


async def test_too_many_texts_make_their_writer_wait() -> None:
    async with living() as (space, box):
        ada = space.join("ada", "", host=True)
        box.may_write = trio.Event()
        space.write(ada, "x", bytes(WAITING_MAX - WEIGHT))
        await space.files.room()
        space.write(ada, "y", b"1")
        waited = trio.Event()

        async def wait() -> None:
            await space.files.room()
            waited.set()

        async with trio.open_nursery() as nursery:
            nursery.start_soon(wait)
            await trio.testing.wait_all_tasks_blocked()
            assert not waited.is_set()
            box.may_write.set()
            await waited.wait()
        assert set(box.files) == {"x", "y"}


async def test_a_box_that_does_not_come_up() -> None:
    box = TreeBox(BoxError("the box could not be made: no luck"))
    opening: Any = box.live
    space = Space("n1-0", opening, SPEC, Settings(), None, {})
    await space.serve()
    with pytest.raises(SpaceEnded, match="no luck"):
        await space.up()
    assert space.over.is_set()
    assert box.reaped


async def test_members_are_told_why_it_ended() -> None:
    async with living() as (space, box):
        ada = space.join("ada", "", host=True)
        box.kill(Outcome.MEMORY)
        (over,) = await ada.news()
        assert isinstance(over, Over)
        assert "limit of memory" in over.error.message
        with pytest.raises(SpaceEnded):
            space.join("bob", "", host=False)
        with pytest.raises(SpaceEnded):
            await space.shell(ada, "echo")
        space.leave(ada)


async def test_a_program_that_cannot_start_ends_alone() -> None:
    async with living() as (space, _):
        ada = space.join("ada", "", host=True)
        await space.shell(ada, "echo")
        viewer = await ada.program()
        ended = await viewer.next()
        assert isinstance(ended, Ended)
        assert (ended.outcome, ended.message) == (Outcome.FAILED, "start bash: No such file or directory")
        assert space.run is None


async def test_retiring_waits_for_the_program() -> None:
    async with living() as (space, _):
        ada = space.join("ada", "", host=True)
        await space.shell(ada, "echo")
        space.retire()
        assert not space.reason
        await space.over.wait()
        assert space.reason == "the daemon stops"
    async with living() as (space, _):
        space.retire()
        await space.over.wait()


async def test_who_is_far_behind_does_not_see_the_next_program() -> None:
    async with living() as (space, _):
        ada, bob = space.join("ada", "", host=True), space.join("bob", "", host=False)
        for number in range(PROGRAMS_MAX + 5):
            await space.shell(ada, f"echo {number}")
            await (await ada.program()).next()
            while space.run is not None:
                await trio.lowlevel.checkpoint()
        for _ in range(PROGRAMS_MAX):
            await bob.program()
        with trio.move_on_after(0.05) as nothing:
            await bob.program()
        assert nothing.cancelled_caught


async def test_its_status(autojump_clock: trio.testing.MockClock) -> None:
    async with living() as (space, _):
        space.join("ada", "", host=True)
        await trio.sleep(100)
        space.stir()
        await trio.sleep(20)
        status = space.status()
        assert (status.space, status.members, status.programs, status.terminals) == ("n1-0", 1, 0, 0)
        assert (status.age, status.idle) == (pytest.approx(120), pytest.approx(20))
        assert (status.memory, status.cpu) == (0, 0.0)
