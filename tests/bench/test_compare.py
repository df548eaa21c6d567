"""Ratios against recorded ones."""

import pytest

from runnerd.bench.compare import ratios, worse
from tests.bench.reports import report

NAMES = {"hello": {"first / bare", "p95 / bare"}, "rates": {"rate / bare"}}


def test_ratios_alone_are_recorded() -> None:
    assert {scenario: set(figures) for scenario, figures in ratios(report()).items()} == NAMES


def test_a_report_is_not_worse_than_itself() -> None:
    assert worse(report(), ratios(report())) == []


@pytest.mark.parametrize(("ours", "over"), [(0.1, 0), (0.35, 0), (0.5, 2)])
def test_times_may_grow_twofold(ours: float, over: int) -> None:
    found = worse(report(ours=ours), ratios(report(ours=0.2)))
    assert len(found) == over
    assert all(each.scenario == "hello" for each in found)


@pytest.mark.parametrize(("rate", "over"), [(500.0, 0), (26.0, 0), (24.0, 1), (0.0, 1)])
def test_rates_may_halve(rate: float, over: int) -> None:
    found = worse(report(rate=rate), ratios(report(rate=50.0)))
    assert len(found) == over
    assert all(each.name == "rate / bare" for each in found)


def test_the_bound_is_another_when_told() -> None:
    assert len(worse(report(ours=0.35), ratios(report(ours=0.2)), bound=1.5)) == 2


def test_absolute_figures_are_not_compared() -> None:
    recorded = {"hello": {"absolute": 1e-9}}
    assert worse(report(), recorded) == []


def test_what_was_not_recorded_is_not_compared() -> None:
    assert worse(report(ours=9.0, rate=0.1), {"other": {"first / bare": 0.1}}) == []


def test_it_is_said_which_and_by_how_much() -> None:
    (found,) = worse(report(rate=10.0), {"rates": {"rate / bare": 0.5}})
    assert str(found) == "rates, rate / bare: 0.1, recorded 0.5"
