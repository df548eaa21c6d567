"""Reports as text."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runnerd.bench import tables
from runnerd.bench.results import Result
from tests.bench.reports import AIMS, RATES, report


@pytest.mark.parametrize(
    ("value", "unit", "text"),
    [
        (0.000213, "s", "213 us"),
        (0.0125, "s", "12.5 ms"),
        (1.254, "s", "1.25 s"),
        (75.0, "s", "75.0 s"),
        (98e6, "B/s", "98.0 MB/s"),
        (32_970.0, "B", "33.0 kB"),
        (-400_000.0, "B", "-400 kB"),
        (150.2, "1/s", "150 /s"),
        (0.1234, "", "0.123"),
        (0.0, "s", "0.000 us"),
    ],
)
def test_amounts_have_three_digits(value: float, unit: str, text: str) -> None:
    assert tables.amount(value, unit) == text


def test_a_result_on_a_terminal() -> None:
    assert tables.shown(report().results[0]).splitlines() == [
        "hello: Says hello, <b>",
        "           p50     p95     p99   n",
        "  ours  209 ms  218 ms  219 ms  20",
        "  bare  1.00 s  1.00 s  1.00 s  20",
        "                reached       aim",
        "  first / bare    0.209   ≤ 0.500  met",
        "  p95 / bare      0.218",
        "  absolute       218 ms  ≤ 300 ms  met",
        "  left out: docker: not on PATH",
    ]


def test_a_failure_is_told() -> None:
    assert tables.shown(Result("x", "X", failed="it broke")).splitlines() == ["x: X", "  FAILED: it broke"]


def test_a_document_has_aims_figures_and_what_was_left_out() -> None:
    lines = tables.markdown(report(rate=20), [("hello", AIMS), ("rates", RATES), ("other", AIMS[:1])]).splitlines()
    assert "2030-01-02" in lines[0]
    assert "A Processor, 2 cores" in lines[0]
    assert "| hello | first / bare | ≤ 0.500 | 0.209 | met |" in lines
    assert "| hello | p95 / bare |  | 0.218 |  |" in lines
    assert "| rates | rate / bare | ≥ 0.700 | 0.200 | not met |" in lines
    assert "| other | first / bare |  | – | not measured |" in lines
    assert "| hello | ours | 209 ms | 218 ms | 219 ms | 20 |" in lines
    assert lines[-1] == "- hello: docker: not on PATH"


@given(st.text(), st.text(), st.text(), st.text())
def test_only_what_is_between_the_marks_is_replaced(before: str, old: str, after: str, new: str) -> None:
    document = f"{before}{tables.BEGIN}{old}{tables.END}{after}"
    assert tables.inserted(document, new) == f"{before}{tables.BEGIN}\n{new}\n{tables.END}{after}"


def test_a_document_without_marks_is_refused() -> None:
    with pytest.raises(ValueError, match="substring"):
        tables.inserted("nothing", "text")
