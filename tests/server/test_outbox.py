"""Errors that the reader tells beside a send that is stuck."""

from collections.abc import Sequence
from typing import Any

import trio
import trio.testing

from runnerd.errors import BadRequest
from runnerd.protocols import Event, Failed, Frame, Pong
from runnerd.server.outbox import LATE, Outbox


class Stuck:
    """A transport, and an adapter whose frames are numbers. Nothing is sent before `open` is set."""

    def __init__(self) -> None:
        self.open = trio.Event()
        self.events: list[Event] = []
        self.sent: list[Event] = []
        self._order = trio.StrictFIFOLock()

    def send(self, *events: Event) -> Sequence[Frame]:
        self.events += events
        return [str(self.events.index(event)) for event in events]

    async def carry(self, frame: Frame) -> None:
        async with self._order:
            await self.open.wait()
            self.sent.append(self.events[int(frame)])


def failed(number: int) -> Failed:
    return Failed(number, BadRequest(f"number {number}"))


def outbox_of(stuck: Stuck) -> Outbox:
    class Carrier:
        send = staticmethod(stuck.carry)

    carrier: Any = Carrier()
    adapter: Any = stuck
    return Outbox(carrier, adapter)


async def test_an_error_waits_aside_while_a_send_is_stuck() -> None:
    stuck, errors = Stuck(), [failed(number) for number in range(3)]
    outbox = outbox_of(stuck)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(outbox.tell, Pong(1, 0.0))
        await trio.testing.wait_all_tasks_blocked()
        assert outbox.busy
        for error in errors:
            with trio.fail_after(1):
                await outbox.tell_aside(error, nursery)
        await trio.testing.wait_all_tasks_blocked()
        assert stuck.sent == []
        stuck.open.set()
    assert stuck.sent[0] == Pong(1, 0.0)
    assert {error.stream for error in stuck.sent[1:] if isinstance(error, Failed)} == {0, 1, 2}
    assert len(stuck.sent) == 4
    assert not outbox.busy


async def test_the_reader_itself_waits_when_many_do(autojump_clock: trio.testing.MockClock) -> None:
    """And the places are free again once they were sent."""
    stuck = Stuck()
    outbox = outbox_of(stuck)
    for _ in range(2):
        stuck.open = trio.Event()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(outbox.tell, Pong(1, 0.0))
            await trio.testing.wait_all_tasks_blocked()
            with trio.fail_after(1):
                for number in range(LATE):
                    await outbox.tell_aside(failed(number), nursery)
            with trio.move_on_after(100) as patience:
                await outbox.tell_aside(failed(LATE), nursery)
            assert patience.cancelled_caught
            stuck.open.set()


async def test_with_nothing_under_way_it_is_told_before_the_next_command() -> None:
    stuck = Stuck()
    stuck.open.set()
    async with trio.open_nursery() as nursery:
        await outbox_of(stuck).tell_aside(failed(1), nursery)
        assert len(stuck.sent) == 1
