from collections.abc import Callable
from contextlib import suppress
from typing import Any

import pytest
import trio
import trio.testing
from hypothesis import given, settings
from hypothesis import strategies as st

from runnerd.sandbox.spec import Outcome, Usage
from runnerd.session.output import Chunk
from runnerd.session.viewer import (
    CHUNK,
    CHUNK_LEAST,
    CHUNK_SECONDS,
    HIGH_WATER,
    MARKS,
    PACE,
    RETAIN,
    TAIL,
    Ended,
    Feed,
    Skipped,
    Started,
    StateChange,
    Viewer,
)

STARTED = Started("n1-x", "python", "terminal", {})
ENDED = Ended(Outcome.EXITED, 0, None, "", Usage(), {})


def make_feed(limit: int = 1 << 30, over: Callable[[], None] = lambda: None) -> Feed:
    return Feed(limit, over, lambda: None)


def take(viewer: Viewer) -> list[object]:
    events: list[object] = []
    while (event := viewer.poll()) is not None:
        events.append(event)
    return events


async def test_started_comes_first_then_output_and_states_in_their_order_then_the_end() -> None:
    feed = make_feed()
    viewer = feed.viewer()
    feed.start(STARTED)
    feed.append("stdout", b"name? ")
    feed.mark(StateChange("waiting"))
    feed.mark(StateChange("running"))
    feed.append("stdout", b"hello")
    feed.append("stdout", b"\xe2\x82")
    feed.mark(ENDED)
    expected = [
        STARTED,
        Chunk("stdout", 0, b"name? "),
        StateChange("waiting"),
        StateChange("running"),
        Chunk("stdout", 6, b"hello\xe2\x82"),
        ENDED,
    ]
    assert take(viewer) == expected
    assert take(feed.viewer()) == expected
    with pytest.raises(trio.EndOfChannel):
        await viewer.next()


STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("append"), st.sampled_from(["stdout", "stderr"]), st.text("aé😀", max_size=5)),
        st.tuples(st.just("mark"), st.sampled_from(["running", "waiting"])),
        st.tuples(st.just("poll"), st.integers(0, 2)),
    ),
    max_size=60,
)


@given(STEPS)
@settings(deadline=None)
def test_every_viewer_sees_the_same_whatever_its_pace(steps: list[tuple[Any, ...]]) -> None:
    async def main() -> None:
        feed = make_feed()
        viewers = [feed.viewer() for _ in range(3)]
        seen: list[list[object]] = [[], [], []]
        expected: list[object] = []
        feed.start(STARTED)
        for step in steps:
            match step:
                case ("append", channel, text):
                    feed.append(channel, text.encode())
                    expected += [(channel, byte) for byte in text.encode()]
                case ("mark", state):
                    feed.mark(StateChange(state))
                    expected.append(StateChange(state))
                case (_, index):
                    event = viewers[int(index)].poll()
                    seen[int(index)] += [] if event is None else [event]
        feed.mark(ENDED)
        for viewer, events in zip(viewers, seen, strict=True):
            flat: list[object] = []
            for event in events + take(viewer):
                flat += [(event.channel, byte) for byte in event.data] if isinstance(event, Chunk) else [event]
            assert flat == [STARTED, *expected, ENDED]

    trio.run(main)


async def test_a_viewer_that_is_far_behind_gets_large_chunks_and_the_newest_states() -> None:
    feed = make_feed()
    viewer = feed.viewer()
    for number in range(MARKS * 2):
        feed.append("stdout", b"x" * 100)
        feed.mark(StateChange("waiting" if number % 2 else "running"))
    feed.append("stdout", b"y" * CHUNK)
    feed.append("stdout", b"z" * CHUNK)
    events = take(viewer)
    assert sum(isinstance(event, StateChange) for event in events) == MARKS
    assert [len(event.data) for event in events[-2:] if isinstance(event, Chunk)] == [CHUNK, CHUNK]
    assert sum(len(event.data) for event in events if isinstance(event, Chunk)) == feed.log.end


async def test_a_viewer_that_lost_output_goes_on_at_the_true_offset() -> None:
    feed = make_feed()
    viewer = feed.viewer()
    feed.mark(StateChange("waiting"))
    for _ in range(RETAIN // CHUNK + 1):
        feed.append("stdout", b"x" * CHUNK)
    first, second, *_ = take(viewer)
    assert first == StateChange("waiting")
    assert isinstance(second, Chunk)
    assert second.offset == feed.log.start > 0


async def test_exactly_the_limit_is_logged_and_over_is_called_once() -> None:
    calls: list[int] = []
    feed = make_feed(10, lambda: calls.append(feed.log.end))
    feed.append("stdout", b"x" * 10)
    assert calls == []
    feed.append("stderr", b"y")
    feed.append("stderr", b"z")
    assert calls == [10]
    assert feed.log.end == 10


async def test_the_limit_counts_a_character_that_is_held_back() -> None:
    calls: list[int] = []
    feed = make_feed(3, lambda: calls.append(feed.log.size))
    feed.append("stdout", b"a\xe2\x82")
    feed.append("stderr", b"!")
    assert calls == [3]
    feed.mark(ENDED)
    assert feed.log.read(0, 9) == Chunk("stdout", 0, b"a\xe2\x82")


async def test_the_program_is_held_only_while_all_viewers_are_behind() -> None:
    feed = make_feed()
    feed.append("stdout", b"x" * (HIGH_WATER + 1))
    assert not feed.stalled, "nobody looks"
    slow = feed.viewer()
    assert feed.stalled
    quick = feed.viewer(feed.log.end)
    assert not feed.stalled
    feed.append("stdout", b"x" * (HIGH_WATER + 1))
    assert feed.stalled
    async with trio.open_nursery() as nursery:
        nursery.start_soon(feed.room)
        await trio.testing.wait_all_tasks_blocked()
        while quick.poll():
            pass
    assert slow.offset == 0
    assert not feed.stalled


async def test_the_program_goes_on_when_everybody_leaves() -> None:
    left: list[bool] = []
    feed = Feed(1 << 30, lambda: None, lambda: left.append(True))
    viewers = [feed.viewer(), feed.viewer()]
    feed.append("stdout", b"x" * (HIGH_WATER + 1))
    async with trio.open_nursery() as nursery:
        nursery.start_soon(feed.room)
        await trio.testing.wait_all_tasks_blocked()
        viewers[0].close()
        await trio.testing.wait_all_tasks_blocked()
        assert (left, len(nursery.child_tasks)) == ([], 1)
        viewers[1].close()
        viewers[1].close()
    assert left == [True]


async def test_next_waits_and_is_woken_by_output_by_events_and_by_closing() -> None:
    feed = make_feed()
    viewer = feed.viewer()
    seen: list[object] = []

    async def follow() -> None:
        with suppress(trio.EndOfChannel):
            while True:
                seen.append(await viewer.next())

    async with trio.open_nursery() as nursery:
        nursery.start_soon(follow)
        for act, event in [
            (lambda: feed.start(STARTED), STARTED),
            (lambda: feed.append("stdout", b"a"), Chunk("stdout", 0, b"a")),
            (lambda: feed.mark(StateChange("waiting")), StateChange("waiting")),
        ]:
            await trio.testing.wait_all_tasks_blocked()
            act()
            await trio.testing.wait_all_tasks_blocked()
            assert seen[-1] == event
        viewer.close()


async def test_the_reader_that_is_about_to_poll_is_not_woken_and_misses_nothing() -> None:
    feed = make_feed()
    reader, other = feed.viewer(), feed.viewer()
    seen: list[tuple[str, object]] = []

    async def follow(name: str, viewer: Viewer) -> None:
        while True:
            seen.append((name, await viewer.next()))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(follow, "reader", reader)
        nursery.start_soon(follow, "other", other)
        await trio.testing.wait_all_tasks_blocked()
        feed.append("stdout", b"a", reader)
        await trio.testing.wait_all_tasks_blocked()
        assert seen == [("other", Chunk("stdout", 0, b"a"))]
        assert reader.poll() == Chunk("stdout", 0, b"a")
        nursery.cancel_scope.cancel()


async def test_an_end_that_another_task_polled_ends_the_waiting_one_too() -> None:
    feed = make_feed()
    viewer = feed.viewer()

    async def follow() -> None:
        with pytest.raises(trio.EndOfChannel):
            await viewer.next()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(follow)
        await trio.testing.wait_all_tasks_blocked()
        feed.mark(ENDED)
        assert viewer.poll() == ENDED


async def test_a_cancelled_next_loses_nothing() -> None:
    feed = make_feed()
    viewer = feed.viewer()
    feed.append("stdout", b"a")
    with trio.CancelScope() as scope:
        scope.cancel()
        await viewer.next()
    assert viewer.poll() == Chunk("stdout", 0, b"a")


async def test_untouched_ends_soon_after_the_next_touch(autojump_clock: trio.testing.MockClock) -> None:
    feed = make_feed()

    async def touch() -> None:
        await trio.sleep(1)
        feed.touch()
        await trio.sleep(0.001)
        feed.touch()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(touch)
        before = trio.current_time()
        await feed.untouched(100, 0.25)
        assert trio.current_time() - before == pytest.approx(1.25)
    before = trio.current_time()
    await feed.untouched(3, 0.25)
    assert trio.current_time() - before == pytest.approx(3)


async def test_an_interrupt_overtakes_what_a_viewer_has_not_read_but_for_its_last_lines() -> None:
    feed = make_feed()
    slow, quick = feed.viewer(), feed.viewer()
    feed.start(STARTED)
    line = b"y" * 99 + b"\n"
    feed.append("stdout", line * 1000)
    take(quick)
    first = [slow.poll(), slow.poll()]
    assert isinstance(read := first[1], Chunk)
    feed.overtake()
    feed.append("stdout", b"^C\n")
    feed.mark(ENDED)
    skipped, tail, *end = take(slow)
    assert isinstance(skipped, Skipped)
    assert isinstance(tail, Chunk)
    assert tail.offset == len(read.data) + skipped.size
    assert tail.offset % len(line) == 0
    assert TAIL - len(line) <= 100_000 - tail.offset <= TAIL
    assert tail.data.endswith(line + b"^C\n")
    assert end == [ENDED]
    assert take(quick) == [Chunk("stdout", 100_000, b"^C\n"), ENDED]
    assert sum(len(each.data) for each in take(feed.viewer()) if isinstance(each, Chunk)) == 100_003


async def test_who_is_not_far_behind_misses_nothing() -> None:
    feed = make_feed()
    viewer = feed.viewer()
    feed.append("stdout", b"x" * TAIL)
    feed.overtake()
    assert take(viewer) == [Chunk("stdout", 0, b"x" * TAIL)]


async def test_what_was_held_for_a_slow_viewer_goes_on_after_an_interrupt() -> None:
    feed = make_feed()
    viewer = feed.viewer()
    feed.append("stdout", b"x" * (HIGH_WATER + 1))
    assert feed.stalled
    async with trio.open_nursery() as nursery:
        nursery.start_soon(feed.room)
        await trio.testing.wait_all_tasks_blocked()
        feed.overtake()
    assert not feed.stalled
    assert isinstance(viewer.poll(), Skipped)


async def test_a_slow_client_is_sent_smaller_pieces_and_a_quick_one_large_ones_again() -> None:
    feed = make_feed()
    viewer = feed.viewer()
    feed.append("stdout", b"x" * 1_000_000)

    def size() -> int:
        chunk = viewer.poll()
        assert isinstance(chunk, Chunk)
        return len(chunk.data)

    assert size() == CHUNK
    viewer.took(CHUNK, CHUNK / 100_000)
    assert size() == pytest.approx(100_000 * CHUNK_SECONDS, abs=1)
    viewer.took(5000, 100)
    assert size() == CHUNK_LEAST
    for _ in range(10):  # the kernel takes some at once, and then none for a while: what counts is the average
        viewer.took(2000, 0.0)
        viewer.took(2000, 4000 / 100_000)
    assert size() < 2 * 100_000 * CHUNK_SECONDS
    viewer.took(PACE, 0.0)
    assert size() == CHUNK
