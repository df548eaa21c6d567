"""Measures several things in turns, so that whatever else the machine does meets all of them alike."""

import gc
from collections.abc import Callable, Mapping, Sequence

from runnerd.bench.results import Series, Unit

Turn = Callable[[], Mapping[str, float]]
"""One sample of one thing, or a few of it, by the names of their series."""


def take_turns(turns: Sequence[Turn], runs: int, *, warm_up: int = 0, unit: Unit = "s") -> list[Series]:
    """Let each have a turn, `warm_up` + `runs` times; what the first ones bring is not kept."""
    found: dict[str, list[float]] = {}
    gc.collect()
    gc.disable()
    try:
        for number in range(warm_up + runs):
            for turn in turns:
                for name, sample in turn().items():
                    kept = found.setdefault(name, [])
                    if number >= warm_up:
                        kept.append(sample)
    finally:
        gc.enable()
    return [Series(name, unit, tuple(samples)) for name, samples in found.items()]
