"""Whether ratios have become worse than those that were recorded. Pure; absolute figures are never compared."""

from collections.abc import Mapping
from typing import NamedTuple

from runnerd.bench.results import Figure, Report

BOUND = 2.0
"""A ratio may be so many times worse than the recorded one: machines differ, and runs do."""

Recorded = Mapping[str, Mapping[str, float]]
"""Ratios by scenario and name."""


class Worse(NamedTuple):
    """A ratio beyond its bound."""

    scenario: str
    name: str
    recorded: float
    value: float

    def __str__(self) -> str:
        return f"{self.scenario}, {self.name}: {self.value:.3g}, recorded {self.recorded:.3g}"


def ratios(report: Report) -> dict[str, dict[str, float]]:
    """What a later run can be compared with."""
    found = {each.scenario: {one.name: one.value for one in each.figures if not one.unit} for each in report.results}
    return {scenario: figures for scenario, figures in found.items() if figures}


def worse(report: Report, recorded: Recorded, bound: float = BOUND) -> list[Worse]:
    """Those more than `bound` times worse. What only one of the two has is not looked at."""
    return [
        Worse(each.scenario, figure.name, before, figure.value)
        for each in report.results
        for figure in each.figures
        if not figure.unit and (before := recorded.get(each.scenario, {}).get(figure.name)) is not None
        if _times(figure, before) > bound
    ]


def _times(figure: Figure, before: float) -> float:
    """How many times worse it is."""
    one, two = (before, figure.value) if figure.least else (figure.value, before)
    return one / two if two else float("inf")
