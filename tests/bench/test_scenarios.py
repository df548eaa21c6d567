"""Each scenario for real, with the smallest counts: it measures something, whatever that is."""

import os

import pytest

from runnerd.bench.runner import measure
from runnerd.bench.scenario import NAMES, Effort, load
from tests.e2e.serving import LIMITS

pytestmark = [pytest.mark.soak, pytest.mark.timeout(300)]

TINY = Effort(runs=2, seconds=0.5, typists=3, boxes=3)

PEERS = ("docker: ", "ttyd: ")
"""What many a machine lacks; all else is there where the tests run."""


@pytest.mark.parametrize("name", NAMES)
def test_a_scenario_measures_what_it_promises(name: str) -> None:
    told: list[str] = []
    report = measure([name], TINY, LIMITS, lambda result: told.append(result.scenario))
    (result,) = report.results
    assert told == [name]
    assert result.failed == ""
    if os.geteuid() and name == "interrupt":
        assert "network namespace" in result.left_out[0]
        pytest.skip("a link of our own needs root")
    assert [each for each in result.left_out if not each.startswith(PEERS)] == []
    assert result.series
    # Of so few boxes the daemon's growth may be less than what it has freed meanwhile.
    assert all(
        each.samples and min(each.samples) > 0 for each in result.series if each.name != "daemon for each session"
    )
    hoped_for = {aim.name for aim in load(name).AIMS if aim.aim is not None}
    assert hoped_for <= {figure.name for figure in result.figures}
    assert report.limits in ("cgroup", "best-effort")
