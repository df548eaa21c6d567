"""The picture of a report."""

import math
from itertools import pairwise
from xml.etree import ElementTree

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runnerd.bench.picture import LEFT, LIGHT, POINTS, RIGHT, WIDTH, picture, steps, ticks
from runnerd.bench.results import Report, Result, Series
from tests.bench.reports import MACHINE, report

SVG = "{http://www.w3.org/2000/svg}"
SAMPLES = st.lists(st.floats(-1e3, 0) | st.floats(1e-9, 1e6), min_size=1, max_size=3 * POINTS)


def drawn(*series: Series) -> ElementTree.Element:
    results = (Result("<scenario>", "", series),)
    return ElementTree.fromstring(picture(Report("0", "now", MACHINE, "auto", results)))


def lines(root: ElementTree.Element) -> list[list[tuple[float, float]]]:
    """The points of each line, without the short ones of the legend."""
    found = [
        [(float(x), float(y)) for x, y in (point.split(",") for point in line.attrib["points"].split())]
        for line in root.iter(f"{SVG}polyline")
    ]
    return found[::2]


def words(root: ElementTree.Element) -> list[str]:
    return [text.text or "" for text in root.iter(f"{SVG}text")]


def test_each_scenario_has_a_panel_and_each_series_a_line() -> None:
    root = ElementTree.fromstring(picture(report()))
    assert len(lines(root)) == 4
    assert {"hello", "rates", "ours: 209 ms", "our rate: 50.0 /s"} <= set(words(root))


@given(st.lists(SAMPLES, min_size=1, max_size=3))
def test_lines_rise_within_the_plot_from_none_to_all(samples: list[list[float]]) -> None:
    series = [Series(str(number), "s", tuple(each)) for number, each in enumerate(samples)]
    root = drawn(*series)
    shown = [each for each in series if max(each.samples) > 0]
    found = lines(root)
    assert len(found) == len(shown)
    bottoms, tops = {line[0][1] for line in found}, {line[-1][1] for line in found}
    assert len(bottoms) <= 1
    assert len(tops) <= 1
    for line in found:
        assert line[0][1] > line[-1][1]
        assert all(LEFT - 0.1 <= x <= WIDTH - RIGHT + 0.1 for x, _ in line)
        assert all(one[0] <= two[0] and one[1] >= two[1] for one, two in pairwise(line))


def test_units_do_not_share_an_axis() -> None:
    root = drawn(Series("a", "s", (1.0,)), Series("b", "B", (1.0,)))
    assert words(root).count("<scenario>") == 2


def test_lines_beyond_the_colours_are_dashed() -> None:
    root = drawn(*(Series(str(n), "s", (1.0,)) for n in range(len(LIGHT) + 1)))
    kinds = [line.attrib["class"] for line in root.iter(f"{SVG}polyline")]
    assert [kind for kind in kinds if "again" in kind] == ["c0 again", "c0 again"]


def test_names_are_text() -> None:
    assert "<b>&: 1.00 s" in words(drawn(Series("<b>&", "s", (1.0,))))


def test_it_follows_the_readers_scheme() -> None:
    assert "prefers-color-scheme: dark" in picture(report())


def test_nothing_measured_is_an_empty_picture() -> None:
    assert lines(drawn()) == []


@given(st.floats(1e-9, 1e9), st.floats(3, 1e6))
def test_some_of_an_axis_is_marked_and_not_too_much(low: float, times: float) -> None:
    marks = ticks(low, low * times)
    assert 1 <= len(marks) <= 12
    assert all(low <= mark <= low * times for mark in marks)
    assert marks == sorted(set(marks))


@pytest.mark.parametrize("count", [1, 2, POINTS, POINTS + 1, 7 * POINTS + 3])
def test_steps_reach_all_samples_by_so_many_points(count: int) -> None:
    points = steps([float(n) for n in range(count, 0, -1)])
    assert len(points) == min(count, POINTS)
    assert points[-1] == (count, 1.0)
    assert all(math.isclose(part, value / count) for value, part in points)
