"""Turns."""

import gc
from collections.abc import Mapping

import pytest

from runnerd.bench.turns import take_turns


def test_each_has_its_turn_and_the_first_ones_are_not_kept() -> None:
    order: list[str] = []

    def turn(name: str) -> Mapping[str, float]:
        order.append(name)
        return {name: float(len(order)), f"{name} twice": 2.0 * len(order)}

    found = take_turns([lambda: turn("a"), lambda: turn("b")], 2, warm_up=1, unit="B")
    assert order == ["a", "b", "a", "b", "a", "b"]
    assert [(each.name, each.unit, each.samples) for each in found] == [
        ("a", "B", (3.0, 5.0)),
        ("a twice", "B", (6.0, 10.0)),
        ("b", "B", (4.0, 6.0)),
        ("b twice", "B", (8.0, 12.0)),
    ]


def test_garbage_is_looked_for_again_whatever_happens() -> None:
    def turn() -> Mapping[str, float]:
        assert not gc.isenabled()
        raise OSError("gone")

    with pytest.raises(OSError, match="gone"):
        take_turns([turn], 1)
    assert gc.isenabled()
