"""A share of the time."""

import pytest
import trio
import trio.testing

from runnerd.session import pace as module
from runnerd.session.pace import BURST, Pace


class Time:
    """A thread's processor time, as the test says."""

    def __init__(self) -> None:
        self.spent = 0.0

    def thread_time(self) -> float:
        return self.spent


async def test_who_takes_much_waits(autojump_clock: trio.testing.MockClock, monkeypatch: pytest.MonkeyPatch) -> None:
    time = Time()
    monkeypatch.setattr(module, "time", time)
    pace, began = Pace(0.1), trio.current_time()
    for _ in range(100):
        await pace.wait()
        with pace.taking():
            time.spent += 0.1
    # Ten seconds of work in a hundred; the first half second and the last piece are not waited for.
    assert trio.current_time() - began == pytest.approx((9.9 - BURST) / 0.1)
    await trio.sleep(1000)
    began = trio.current_time()
    await pace.wait()
    assert trio.current_time() == began
