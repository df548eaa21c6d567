"""Quantiles, ratios and what becomes of them in a report."""

import math

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from runnerd.bench.results import Aim, Figure, Report, Series, quantile, result
from tests.bench.reports import report

SAMPLES = st.lists(st.floats(0, 1e6), min_size=1)


@pytest.mark.parametrize(
    ("at", "expected"), [(0.0, 1), (0.5, 50), (0.501, 51), (0.95, 95), (0.99, 99), (0.991, 100), (1.0, 100)]
)
def test_quantiles_of_a_hundred(at: float, expected: int) -> None:
    assert quantile([float(n) for n in range(100, 0, -1)], at) == expected


@given(SAMPLES, st.floats(0, 1))
def test_enough_samples_are_at_most_the_quantile(samples: list[float], at: float) -> None:
    value = quantile(samples, at)
    assert value in samples
    assert sum(each <= value for each in samples) >= len(samples) * at
    # and it is the smallest such sample
    assert sum(each < value for each in samples) < max(len(samples) * at, 1)


def test_no_samples_have_no_quantile() -> None:
    with pytest.raises(ValueError, match="no samples"):
        quantile([], 0.5)


def series(**samples: tuple[float, ...]) -> dict[str, Series]:
    return {name: Series(name, "s", each) for name, each in samples.items()}


def test_a_ratio_is_of_the_same_quantile_of_both() -> None:
    both = series(ours=(1.0, 2.0, 30.0), bare=(2.0, 4.0, 6.0))
    assert Aim("p50", "ours", "bare", aim=0.6).figure(both) == Figure("p50", 0.5, "", 0.6, False)
    assert Aim("p99", "ours", "bare", 0.99).figure(both) == Figure("p99", 5.0, "", None, False)


def test_without_a_second_series_a_figure_keeps_its_unit() -> None:
    assert Aim("p50", "ours", aim=3).figure(series(ours=(2.0,))) == Figure("p50", 2.0, "s", 3, False)


@pytest.mark.parametrize("there", [{}, {"ours": (1.0,)}, {"bare": (1.0,)}, {"ours": (1.0,), "bare": ()}])
def test_what_was_not_measured_has_no_figure(there: dict[str, tuple[float, ...]]) -> None:
    assert Aim("p50", "ours", "bare").figure(series(**there)) is None


def test_nothing_is_infinitely_faster_than_something() -> None:
    figure = Aim("p50", "ours", "bare", aim=1).figure(series(ours=(1.0,), bare=(0.0,)))
    assert figure is not None
    assert figure.value == math.inf
    assert figure.met() is False


@pytest.mark.parametrize(
    ("value", "least", "met"),
    [(0.9, False, True), (1.0, False, True), (1.1, False, False), (0.9, True, False), (1.0, True, True)],
)
def test_whether_an_aim_is_met(value: float, least: bool, met: bool) -> None:
    assert Figure("", value, "", 1.0, least).met() is met
    assert Figure("", value, "", None, least).met() is None


def test_a_result_has_the_figures_that_could_be_measured() -> None:
    made = result("x", "", [Series("ours", "s", (1.0,))], (Aim("a", "ours"), Aim("b", "ours", "bare")), ["bare: gone"])
    assert [each.name for each in made.figures] == ["a"]
    assert made.left_out == ("bare: gone",)


def test_a_report_survives_json() -> None:
    assert msgspec.json.decode(msgspec.json.encode(report()), type=Report) == report()
