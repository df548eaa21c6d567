"""What cannot be measured is told, and the rest goes on."""

from collections.abc import Callable, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from runnerd.bench import runner
from runnerd.bench.errors import Broken, Missing
from runnerd.bench.results import Aim, Report, Series
from runnerd.bench.scenario import QUICK, Setting


@pytest.fixture
def measured(monkeypatch: pytest.MonkeyPatch) -> Callable[..., Report]:
    """Measures these functions as scenarios, beside a daemon that is only thought of."""

    def measured(*scenarios: Callable[[Setting], Sequence[Series]]) -> Report:
        class Daemon:
            def __init__(self, *_: Any) -> None: ...
            def __enter__(self) -> Any:
                return SimpleNamespace(limits=lambda: "best-effort")

            def __exit__(self, *_: object) -> None: ...

        named = {str(number): scenario for number, scenario in enumerate(scenarios)}
        monkeypatch.setattr(runner, "serving", Daemon)
        monkeypatch.setattr(
            runner,
            "load",
            lambda name: SimpleNamespace(ABOUT="", AIMS=(Aim("p50", "ours"),), measure=named[name]),
        )
        return runner.measure(named, QUICK, "auto", lambda result: None)

    return measured


def works(setting: Setting) -> Sequence[Series]:
    return [Series("ours", "s", (1.0,))]


def raising(problem: Exception) -> Callable[[Setting], Sequence[Series]]:
    def fails(setting: Setting) -> Sequence[Series]:
        raise problem

    return fails


def test_a_privilege_that_is_missing_is_no_failure(measured: Callable[..., Report]) -> None:
    one, two = measured(raising(Missing("no link", hint="be root")), works).results
    assert (one.failed, one.left_out) == ("", ("all of it: no link (be root)",))
    assert [figure.value for figure in two.figures] == [1.0]


@pytest.mark.parametrize("problem", [Broken("it stopped"), OSError("it stopped"), KeyError("it stopped")])
def test_a_failure_is_told_and_ends_nothing_else(measured: Callable[..., Report], problem: Exception) -> None:
    one, two = measured(raising(problem), works).results
    assert "it stopped" in one.failed
    assert two.failed == ""


@pytest.mark.parametrize("problem", [Missing("gone", hint="get it"), Broken("gone"), OSError("gone")])
def test_a_peer_that_does_not_work_is_left_out(tmp_path: Path, problem: Exception) -> None:
    setting = Setting(QUICK, tmp_path)

    def make() -> str:
        raise problem

    assert setting.peer("peer", make) is None
    assert setting.peer("other", lambda: "it") == "it"
    (told,) = setting.left_out
    assert told.startswith("peer: gone")


def test_each_has_a_folder_of_its_own_that_goes(measured: Callable[..., Report]) -> None:
    folders: list[Path] = []

    def look(setting: Setting) -> Sequence[Series]:
        assert list(setting.folder.iterdir()) == []
        folders.append(setting.file("file", "text").parent)
        return []

    measured(look, look)
    assert len(set(folders)) == 2
    assert not any(folder.exists() for folder in folders)


def test_the_machine_is_described() -> None:
    machine = runner.machine()
    assert machine.processor
    assert machine.kernel
    assert machine.system
    assert machine.cores >= 1
    assert machine.memory > 2**27
