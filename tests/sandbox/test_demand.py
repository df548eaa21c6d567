"""The estimate of arrivals."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runnerd.sandbox.demand import MEMORY, Demand


def arrivals(rate: float, seconds: float) -> Demand:
    demand = Demand(0.0)
    for number in range(round(rate * seconds)):
        demand.arrived((number + 1) / rate)
    return demand


@pytest.mark.parametrize("rate", [0.5, 5.0, 50.0])
def test_steady_arrivals_are_told_as_their_rate(rate: float) -> None:
    assert arrivals(rate, 10 * MEMORY).rate(10 * MEMORY) == pytest.approx(rate, rel=0.15)


def test_a_rate_falls_when_nobody_comes() -> None:
    demand = arrivals(5.0, 100)
    assert demand.rate(100 + MEMORY) == pytest.approx(demand.rate(100) / 2.718, rel=0.01)
    assert demand.wanted(100 + 20 * MEMORY, floor=0, ceiling=8) == 0


def test_more_wait_where_more_come() -> None:
    wanted = [arrivals(rate, 100).wanted(100, floor=0, ceiling=1000) for rate in (0.01, 0.2, 1, 10, 100)]
    assert wanted == sorted(wanted)
    assert wanted[-1] > 100


@given(st.lists(st.floats(0, 100)), st.floats(0, 1000), st.integers(0, 9), st.integers(0, 99))
def test_floor_and_ceiling_hold(gaps: list[float], later: float, floor: int, above: int) -> None:
    demand, now = Demand(0.0), 0.0
    for gap in gaps:
        now += gap
        demand.arrived(now)
    assert floor <= demand.wanted(now + later, floor=floor, ceiling=floor + above) <= floor + above
    assert demand.last == now
