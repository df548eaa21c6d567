"""`runnerd bench` with reports that were made before; measuring is tests/bench/test_scenarios.py's."""

import json
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest

from runnerd.bench.scenario import NAMES, load
from runnerd.bench.tables import BEGIN, END
from tests.bench.reports import report

ROOT = Path(__file__).parents[2]


def bench(*words: str | Path) -> subprocess.CompletedProcess[str]:
    runnerd = Path(sys.executable).with_name("runnerd")
    return subprocess.run([runnerd, "bench", *words], capture_output=True, text=True, timeout=60)


@pytest.fixture
def made(tmp_path: Path) -> Path:
    """A report in a file."""
    file = tmp_path / "report.json"
    file.write_bytes(msgspec.json.encode(report()))
    return file


def test_scenarios_are_listed_and_described() -> None:
    listed = [line.split(maxsplit=1) for line in bench("--list").stdout.splitlines()]
    assert listed == [[name, load(name).ABOUT] for name in NAMES]
    described = (ROOT / "bench/README.md").read_text()
    assert all(f"| `{name}` |" in described for name in NAMES)


def test_aims_are_of_what_they_say() -> None:
    for name in NAMES:
        aims = load(name).AIMS
        assert len({aim.name for aim in aims}) == len(aims), name


def test_a_report_is_shown_and_written_again(made: Path, tmp_path: Path) -> None:
    document = tmp_path / "doc.md"
    document.write_text(f"# Title\n{BEGIN}\nformerly\n{END}\nEnd\n")
    outputs = [tmp_path / name for name in ("again.json", "ratios.json", "picture.svg")]
    again, ratios, picture = outputs
    done = bench("--from", made, "--json", again, "--record", ratios, "--svg", picture, "--markdown", document)
    assert (done.returncode, done.stderr) == (0, "")
    assert "first / bare" in done.stdout
    assert again.read_bytes() == made.read_bytes()
    assert json.loads(ratios.read_text())["rates"] == {"rate / bare": 0.5}
    assert picture.read_text().startswith("<svg ")
    text = document.read_text()
    assert text.startswith("# Title\n")
    assert text.endswith("\nEnd\n")
    assert "formerly" not in text
    assert "| python-hello | first byte / python3 |" in text


@pytest.mark.parametrize(("recorded", "status"), [(0.5, 0), (0.9, 0), (1.1, 1)])
def test_it_fails_when_a_ratio_is_twice_as_bad(made: Path, tmp_path: Path, recorded: float, status: int) -> None:
    file = tmp_path / "recorded.json"
    file.write_text(json.dumps({"rates": {"rate / bare": recorded}}))
    done = bench("--from", made, "--compare", file)
    assert done.returncode == status
    assert ("much worse than recorded: rates, rate / bare: 0.5, recorded 1.1" in done.stdout) == bool(status)


def test_what_is_recorded_is_what_is_measured() -> None:
    """A ratio that has another name now would never be compared again."""
    recorded = json.loads((ROOT / "bench/recorded.json").read_text())
    for scenario, ratios in recorded.items():
        assert set(ratios) <= {aim.name for aim in load(scenario).AIMS if aim.to}


def test_the_document_of_results_has_its_marks() -> None:
    text = (ROOT / "docs/performance.md").read_text()
    assert text.count(BEGIN) == text.count(END) == 1


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("--scenario", "nosuch"), "python-hello"),
        (("--runs", "0"), "at least 1"),
        (("--from", "nosuch.json"), "No such file"),
        (("--from", ROOT / "pyproject.toml"), "written by `runnerd bench`"),
        (("--compare", "nosuch.json"), "No such file"),
        (("--json", "nosuch/report.json"), "cannot be written"),
    ],
)
def test_what_cannot_be_done_is_told_before_anything_is_measured(words: tuple[str | Path, ...], told: str) -> None:
    done = bench(*words)
    assert done.returncode == 1
    assert told in done.stderr
    assert "Traceback" not in done.stderr
    assert done.stdout == ""


def test_a_document_without_marks_is_told(made: Path, tmp_path: Path) -> None:
    document = tmp_path / "doc.md"
    document.write_text("text")
    done = bench("--from", made, "--markdown", document)
    assert done.returncode == 1
    assert BEGIN in done.stderr
    assert document.read_text() == "text"
