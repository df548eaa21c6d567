"""Small edits from one text to another."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runnerd.session import merging
from runnerd.session.merging import Edit, edits

TEXTS = st.text(st.sampled_from("ab\né😀\r"), max_size=40)


def made(old: str, new: str) -> str:
    data = old.encode()
    for edit in edits(old, new):
        data = data[: edit.at] + edit.insert.encode() + data[edit.at + edit.remove :]
    return data.decode()


@given(TEXTS, TEXTS)
def test_they_lead_from_one_to_the_other(old: str, new: str) -> None:
    assert made(old, new) == new


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ("same", "same", []),
        ("", "new", [Edit(0, 0, "new")]),
        ("é old", "é", [Edit(2, 4, "")]),
        ("one\ntwo\nthree\n", "one\nTwo\nthree\n", [Edit(4, 1, "T")]),
        ("one\ntwo\nthree\n", "One\ntwo\nthree!\n", [Edit(13, 0, "!"), Edit(0, 1, "O")]),
    ],
)
def test_they_are_small(old: str, new: str, expected: list[Edit]) -> None:
    assert edits(old, new) == expected


def test_what_has_too_many_lines_is_replaced(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(merging, "PRODUCT_MAX", 8)
    old, new = "a\nb\nc\n", "x\nb\ny\n"
    assert edits(old, new) == [Edit(0, 5, "x\nb\ny")]
