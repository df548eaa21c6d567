"""Whose processes are whose."""

import os

from runnerd.bench.memory import families, parents, proportional


def test_families_are_of_the_children_of_one() -> None:
    tree = {1: 0, 10: 1, 20: 10, 21: 20, 22: 20, 30: 10, 31: 30, 40: 1}
    assert {child: sorted(all_of_it) for child, all_of_it in families(tree, 10).items()} == {
        20: [20, 21, 22],
        30: [30, 31],
    }
    assert families(tree, 40) == {}


def test_this_process_has_a_parent_and_memory() -> None:
    assert parents()[os.getpid()] == os.getppid()
    assert 1e6 < proportional(os.getpid()) < 1e9
