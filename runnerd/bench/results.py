"""What is measured and what is made of it. Pure values; a report is kept as JSON."""

import math
from collections.abc import Mapping, Sequence
from typing import Literal

import msgspec

Unit = Literal["s", "B", "B/s", "1/s"]


def quantile(samples: Sequence[float], at: float) -> float:
    """The smallest sample that at least the part `at` (0 to 1) of all do not exceed. Raises ValueError without one."""
    if not samples:
        raise ValueError("no samples")
    return sorted(samples)[max(0, math.ceil(len(samples) * at) - 1)]


class Series(msgspec.Struct, frozen=True):
    """Samples of one thing, in the order they were taken."""

    name: str
    unit: Unit
    samples: tuple[float, ...]

    def quantile(self, at: float) -> float:
        return quantile(self.samples, at)


class Aim(msgspec.Struct, frozen=True):
    """What is hoped of a quantile (`at`) of the series `of`, divided by that of the series `to`; without one, as it is.

    `aim` is in the unit of `of`, or a plain ratio; None: it is only told. `least`: more is better.
    """

    name: str
    of: str
    to: str = ""
    at: float = 0.5
    aim: float | None = None
    least: bool = False

    def figure(self, series: Mapping[str, Series]) -> "Figure | None":
        """Its value, or None when one of the two was not measured."""
        of, to = series.get(self.of), series.get(self.to)
        if of is None or not of.samples or (self.to and (to is None or not to.samples)):
            return None
        below = to.quantile(self.at) if to else 1.0
        value = of.quantile(self.at) / below if below else math.inf
        return Figure(self.name, value, "" if self.to else of.unit, self.aim, self.least)


class Figure(msgspec.Struct, frozen=True):
    """An aim and what was reached. `unit` is "" for a ratio."""

    name: str
    value: float
    unit: Unit | Literal[""]
    aim: float | None
    least: bool

    def met(self) -> bool | None:
        """None where nothing was hoped for."""
        if self.aim is None:
            return None
        return self.value >= self.aim if self.least else self.value <= self.aim


class Result(msgspec.Struct, frozen=True):
    """One scenario. `left_out` says what could not be measured and why; `failed`, why all of it could not."""

    scenario: str
    about: str
    series: tuple[Series, ...] = ()
    figures: tuple[Figure, ...] = ()
    left_out: tuple[str, ...] = ()
    failed: str = ""


class Machine(msgspec.Struct, frozen=True):
    """Where it was measured. `load` is the kernel's average of the last minute before the run."""

    processor: str
    cores: int
    memory: int
    kernel: str
    system: str
    python: str
    load: float


class Report(msgspec.Struct, frozen=True):
    """One run of the bench. `date` is ISO 8601 in UTC, `limits` how the daemon held its boxes."""

    version: str
    date: str
    machine: Machine
    limits: str
    results: tuple[Result, ...]


def result(scenario: str, about: str, series: Sequence[Series], aims: Sequence[Aim], left_out: Sequence[str]) -> Result:
    """The figures come from the aims, as far as their series were measured."""
    named = {each.name: each for each in series}
    figures = tuple(figure for aim in aims if (figure := aim.figure(named)) is not None)
    return Result(scenario, about, tuple(series), figures, tuple(left_out))
