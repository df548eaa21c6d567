from collections import defaultdict

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runnerd.errors import OverQuota
from runnerd.server.quota import WINDOW, Quota


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def test_runs_at_a_time() -> None:
    quota = Quota(Clock())
    quota.take("a", 2, 0)
    quota.take("a", 2, 0)
    quota.take("b", 2, 0)
    with pytest.raises(OverQuota, match="2 of at most 2") as refused:
        quota.take("a", 2, 0)
    assert (refused.value.code, refused.value.status, refused.value.retry_after) == ("quota", 429, 1)
    quota.give_back("a")
    quota.take("a", 2, 0)


def test_runs_per_minute() -> None:
    clock = Clock()
    quota = Quota(clock)
    for _ in range(3):
        quota.take("a", 0, 3)
        quota.give_back("a")
        clock.now += 10
    with pytest.raises(OverQuota, match="at most 3 runs may start within a minute") as refused:
        quota.take("a", 0, 3)
    assert refused.value.retry_after == pytest.approx(WINDOW - 30, abs=0.1)
    clock.now += refused.value.retry_after
    quota.take("a", 0, 3)


def test_a_limit_that_was_lowered_says_when() -> None:
    clock = Clock()
    quota = Quota(clock)
    for _ in range(4):
        quota.take("a", 0, 10)
        clock.now += 1
    with pytest.raises(OverQuota) as refused:
        quota.take("a", 0, 2)
    clock.now += refused.value.retry_after
    quota.take("a", 0, 2)


def test_without_limits_nothing_is_refused_and_nothing_kept() -> None:
    quota = Quota(Clock())
    for _ in range(1000):
        quota.take("a", 0, 0)
    for _ in range(1000):
        quota.give_back("a")
    assert len(quota) == 0


def test_names_are_forgotten() -> None:
    clock = Clock()
    quota = Quota(clock)
    quota.take("long", 5, 5)
    for number in range(10_000):
        quota.take(number, 5, 5)
        quota.give_back(number)
        clock.now += 0.1
    assert len(quota) <= 2 * WINDOW / 0.1 + 2
    quota.give_back("long")


steps = st.lists(
    st.one_of(
        st.tuples(st.just("take"), st.sampled_from("ab"), st.integers(0, 3), st.integers(0, 4)),
        st.tuples(st.just("give back"), st.sampled_from("ab")),
        st.tuples(st.just("wait"), st.sampled_from([0.5, 7.0, 20.0, 59.75, 60.0, 100.0])),
    ),
    max_size=60,
)


@given(steps)
def test_it_counts_as_a_naive_model_does(steps: list[tuple]) -> None:
    clock = Clock()
    quota = Quota(clock)
    running: dict[str, int] = defaultdict(int)
    starts: dict[str, list[float]] = defaultdict(list)  # of runs that had a limit per minute
    for step in steps:
        match step:
            case ("take", name, at_a_time, per_minute):
                recent = [moment for moment in starts[name] if moment > clock.now - WINDOW]
                allowed = (not at_a_time or running[name] < at_a_time) and (not per_minute or len(recent) < per_minute)
                try:
                    quota.take(name, at_a_time, per_minute)
                except OverQuota as refused:
                    assert not allowed
                    assert 0 < refused.retry_after <= WINDOW + 0.1
                else:
                    assert allowed
                    running[name] += 1
                    if per_minute:
                        starts[name].append(clock.now)
            case ("give back", name):
                if running[name]:
                    running[name] -= 1
                    quota.give_back(name)
            case ("wait", seconds):
                clock.now += seconds
    assert len(quota) <= 2
