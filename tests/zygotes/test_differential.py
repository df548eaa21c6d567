"""Bytes, streams and exit status of every program of the corpora, fresh and by programs that waited, in every mode."""

from difflib import unified_diff
from typing import Any

import pytest

from runnerd.sandbox.host import Host
from runnerd.sandbox.spec import Mode
from tests.left_out import left_out

from .cases import LANGUAGES, Case, Step, cases, transcript

pytestmark = pytest.mark.corpus
WIDTH = 400
"""Of a line that differs."""


def runs(language: str) -> list[Any]:
    return [pytest.param(case, mode, id=f"{case}-{mode}") for case in cases(language) for mode in case.modes]


def shown(steps: list[Step]) -> list[str]:
    """Line by line, which is how a difference is told."""
    lines: list[str] = []
    for step in steps:
        for data in (step.stdout, step.stderr):
            lines += [repr(line)[2:-1] for line in data.splitlines(keepends=True)]
        lines.append(f"code {step.code}, signal {step.signal}")
    return lines


async def compare(host: Host, case: Case, mode: Mode) -> None:
    toolchain = LANGUAGES.get(case.language)
    if LANGUAGES.missing(toolchain):
        left_out(f"{toolchain.name} is missing: scripts/setup")
    fresh = await transcript(host, case, mode, ahead=False)
    waited = await transcript(host, case, mode, ahead=True)
    if not case.differs:
        if waited != fresh:
            lines = unified_diff(shown(fresh), shown(waited), "fresh", "waited", n=1, lineterm="")
            pytest.fail("\n".join(line[:WIDTH] for line in lines), pytrace=False)
        return
    again = [await transcript(host, case, mode, ahead=ahead) for ahead in (False, True)]
    for *before, last in (fresh, waited, *again):
        assert (last.stderr, last.code, last.signal) == (b"", 0, None)
        assert all(step.code == 0 for step in before)
    assert len({steps[-1].stdout for steps in (fresh, waited, *again)}) == 4


@pytest.mark.parametrize(
    ("language", "name"), [("python", "process.py"), ("javascript", "process_values.js"), ("java", "process.java")]
)
async def test_files_in_another_folder(host: Host, language: str, name: str) -> None:
    (case,) = (case for case in cases(language) if case.name == name)
    fresh, waited = [await transcript(host, case, "pipes", ahead=ahead, widget=True) for ahead in (False, True)]
    assert shown(waited) == shown(fresh)
    assert b"/tmp/work" in fresh[-1].stdout


@pytest.mark.parametrize(("case", "mode"), runs("python"))
async def test_python(host: Host, case: Case, mode: Mode) -> None:
    await compare(host, case, mode)


@pytest.mark.parametrize(("case", "mode"), runs("javascript"))
async def test_javascript(host: Host, case: Case, mode: Mode) -> None:
    await compare(host, case, mode)


@pytest.mark.parametrize(("case", "mode"), runs("java"))
async def test_java(host: Host, case: Case, mode: Mode) -> None:
    await compare(host, case, mode)
