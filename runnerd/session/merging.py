"""How one text became another, as few and small edits, so that cursors in it stay where they were. Pure."""

from collections.abc import Iterator
from difflib import SequenceMatcher

import msgspec

PRODUCT_MAX = 250_000
"""Lines of the one times lines of the other that are compared: what differs in more is replaced as a whole."""


class Edit(msgspec.Struct, frozen=True):
    """At byte `at` of the old text in UTF-8, `remove` bytes go and `insert` comes."""

    at: int
    remove: int
    insert: str


def edits(old: str, new: str) -> list[Edit]:
    """Last edit first, so that each can be made without minding the others."""
    found = [_edit(old, at, len(gone), came) for at, gone, came in _hunks(old, new)]
    return found[::-1]


def _hunks(old: str, new: str) -> Iterator[tuple[int, str, str]]:
    """Where in `old`, what goes, what comes instead."""
    start, gone, came = _trim(old, new)
    if not gone or not came:
        if gone or came:
            yield start, gone, came
        return
    before, after = gone.splitlines(keepends=True), came.splitlines(keepends=True)
    if len(before) * len(after) > PRODUCT_MAX:
        yield start, gone, came
        return
    at = start
    for tag, i1, i2, j1, j2 in SequenceMatcher(None, before, after).get_opcodes():
        lost, got = "".join(before[i1:i2]), "".join(after[j1:j2])
        if tag != "equal":
            offset, left, right = _trim(lost, got)
            yield at + offset, left, right
        at += len(lost)


def _trim(old: str, new: str) -> tuple[int, str, str]:
    """Without what both begin and end with: (how much they begin with, the rest of each)."""
    start = _common(old, new)
    old, new = old[start:], new[start:]
    end = _common(old[::-1], new[::-1])
    return start, old[: len(old) - end], new[: len(new) - end]


def _common(one: str, other: str) -> int:
    """How many characters both begin with, found by halves."""
    low, high = 0, min(len(one), len(other))
    while low < high:
        middle = (low + high + 1) // 2
        if one[low:middle] == other[low:middle]:
            low = middle
        else:
            high = middle - 1
    return low


def _edit(old: str, at: int, length: int, insert: str) -> Edit:
    return Edit(len(old[:at].encode()), len(old[at : at + length].encode()), insert)
