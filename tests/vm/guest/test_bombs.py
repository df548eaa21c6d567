"""Bombs of forks, memory and CPU time, all at once, beside a session that somebody types into."""

import json
import time

import pytest
import service
from service import sh

SAMPLES = 200
TIMES = 10.0
GROWTH = 8 << 20
"""Bytes."""


def daemons_memory() -> int:
    """Bytes that the kernel counts against the daemon's own leaf."""
    return int((service.group() / "daemon/memory.current").read_text())


def boxes_time() -> float:
    """Seconds of CPU time that all boxes together have used."""
    usage, *_ = (service.group() / "boxes/cpu.stat").read_text().split("\n")
    return int(usage.removeprefix("usage_usec ")) / 1e6


def test_bombs_leave_another_session_answering(running: None, capsys: pytest.CaptureFixture[str]) -> None:
    command = f"/opt/runnerd/bin/python -m bench.bombs --json --samples {SAMPLES} --url {service.URL}"
    service.run("python", "print()")  # what the daemon loads and keeps at its first run
    before, used, began = daemons_memory(), boxes_time(), time.monotonic()
    figures: dict[str, float] = json.loads(sh(f"cd {service.REPO} && {command}"))
    grown, used, took = daemons_memory() - before, boxes_time() - used, time.monotonic() - began
    with capsys.disabled():
        print(*(f"\n  {label:<28} {value:10.3f}" for label, value in figures.items()), sep="", end=" ")
        print(f"\n  the daemon grew by {grown / 1e6:.1f} MB; boxes used {used:.1f} s in {took:.1f} s", end=" ")
    assert figures["echo p99 ratio (aim 2)"] < TIMES
    assert figures["answer p99 ratio"] < TIMES
    assert figures["bombs ended: memory"] > 0
    assert used > took / 4  # more than half of the time was in quiet
    assert grown < GROWTH
    assert service.show("NRestarts") == "0"
