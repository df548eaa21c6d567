"""The bench of busy boxes against a daemon that wants a key, with the smallest counts."""

import json
import subprocess
import sys
from collections.abc import Generator
from pathlib import Path

import pytest

from bench import busy
from runnerd.bench.daemon import Server
from runnerd.bench.errors import Broken
from tests.e2e.serving import serve


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Generator[Server]:
    with serve(tmp_path_factory.mktemp("busy"), auth="keys") as daemon:
        runnerd = Path(sys.executable).with_name("runnerd")
        command = [runnerd, "keys", "create", "--credits", "100", "--json", "--state-dir", daemon.state_dir]
        made = json.loads(subprocess.run(command, check=True, capture_output=True).stdout)
        yield Server(("127.0.0.1", daemon.port), made["secret_key"])


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(busy, "KEYS", 3)
    monkeypatch.setattr(busy, "HELLOS", 1)


@pytest.mark.usefixtures("small")
def test_keys_and_hellos_are_measured_in_quiet_and_beside_boxes_that_compute(server: Server) -> None:
    found, cpus = busy.measure(server, boxes=2, rounds=2)
    counts = {each.name: len(each.samples) for each in found.series}
    assert counts == {"key, quiet": 6, "hello, quiet": 2, "key, busy": 6, "hello, busy": 2}
    assert all(min(each.samples) > 0 for each in found.series)
    assert {figure.name for figure in found.figures} == {aim.name for aim in busy.AIMS}
    assert 0 < cpus < 2.1


@pytest.mark.usefixtures("small")
def test_boxes_that_do_not_go_on_computing_are_told(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(busy, "BURN", "print('up', flush=True)")
    with pytest.raises(Broken, match="did not run on"):
        busy.measure(server, boxes=1, rounds=1)


def test_without_its_key_it_says_so(server: Server) -> None:
    with pytest.raises(Broken, match="unauthorized"):
        busy.measure(Server(server.address), boxes=1, rounds=1)
