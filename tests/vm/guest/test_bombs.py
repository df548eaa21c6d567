"""Bombs of forks, memory and CPU time, all at once, beside a session that somebody types into."""

import json
import time
from pathlib import Path

import pytest
import service
from service import sh

SAMPLES = 200
TIMES = 10.0
GROWTH = 4 << 20
"""Bytes of the daemon's own."""
GROWTH_OF_THE_LEAF = 32 << 20
"""Which counts what the kernel keeps for it as well: page cache, dead control groups."""


def daemons_memory() -> tuple[int, int]:
    """Bytes: anonymous memory of the daemon, and all that the kernel counts against its leaf."""
    status = Path(f"/proc/{service.show('MainPID')}/status").read_text()
    own = next(line for line in status.splitlines() if line.startswith("RssAnon:"))
    return int(own.split()[1]) * 1024, int((service.group() / "daemon/memory.current").read_text())


def boxes_time() -> float:
    """Seconds of CPU time that all boxes together have used."""
    usage, *_ = (service.group() / "boxes/cpu.stat").read_text().split("\n")
    return int(usage.removeprefix("usage_usec ")) / 1e6


def test_bombs_leave_another_session_answering(running: None, capsys: pytest.CaptureFixture[str]) -> None:
    def measured(samples: int) -> dict[str, float]:
        command = f"/opt/runnerd/bin/python -m bench.bombs --json --samples {samples} --url {service.URL}"
        return json.loads(sh(f"cd {service.REPO} && {command}"))

    measured(20)  # what the daemon loads and keeps at its first runs
    before, used, began = daemons_memory(), boxes_time(), time.monotonic()
    figures = measured(SAMPLES)
    own, leaf = (after - then for after, then in zip(daemons_memory(), before, strict=True))
    used, took = boxes_time() - used, time.monotonic() - began
    with capsys.disabled():
        print(*(f"\n  {label:<28} {value:10.3f}" for label, value in figures.items()), sep="", end=" ")
        print(f"\n  the daemon grew by {own / 1e6:.1f} MB, its leaf by {leaf / 1e6:.1f} MB")
        print(f"  boxes used {used:.1f} s in {took:.1f} s", end=" ")
    assert figures["echo p99 ratio (aim 2)"] < TIMES
    assert figures["answer p99 ratio"] < TIMES
    assert figures["bombs ended: memory"] > 0
    assert used > took / 4  # more than half of the time was in quiet
    assert own < GROWTH
    assert leaf < GROWTH_OF_THE_LEAF
    assert service.show("NRestarts") == "0"
