"""A key to its echo while many others type."""

import subprocess
import sys
import time
from collections.abc import Generator, Sequence
from contextlib import contextmanager

from runnerd.bench import typist
from runnerd.bench.daemon import Daemon, serving
from runnerd.bench.errors import Broken
from runnerd.bench.results import Aim, Series
from runnerd.bench.scenario import Setting

ABOUT = "Keystroke echo while 200 sessions type at 5 keys/s each, against the same while they rest"
AIMS = (
    Aim("p50, others type / others rest", "others type", "others rest", 0.5),
    Aim("p99, others type / others rest", "others type", "others rest", 0.99, 3.0),
    Aim("p99, others rest / alone", "others rest", "alone", 0.99),
)
RATE = 5
"""Keys per second of each."""
PARTS = 6
"""So often they begin to type, and rest again."""
SETTLING = 0.3
"""Seconds after that in which nothing is counted."""
PAUSE = 0.005
"""Seconds between our own keys."""


class Typists:
    """The others, in a process of their own."""

    def __init__(self, process: "subprocess.Popen[str]") -> None:
        self._process = process
        self._expect("ready")

    def tell(self, order: str) -> None:
        assert self._process.stdin is not None
        print(order, file=self._process.stdin, flush=True)
        self._expect(order)
        time.sleep(SETTLING)

    def _expect(self, word: str) -> None:
        assert self._process.stdout is not None
        if (line := self._process.stdout.readline().strip()) != word:
            raise Broken(f"the typists said {line!r}, not {word!r}")


@contextmanager
def typists(daemon: Daemon, count: int) -> Generator[Typists]:
    host, port = daemon.address
    command = [sys.executable, "-m", "runnerd.bench.typists", host, str(port), str(count), str(RATE)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        try:
            yield Typists(process)
        finally:
            process.kill()


def measure(setting: Setting) -> Sequence[Series]:
    keys = setting.effort.some(5)
    with serving(setting.subfolder("daemon"), setting.limits) as daemon, typist.boxed(daemon) as probe:
        _keys(probe, 50)
        alone = _keys(probe, keys * PARTS)
        found: dict[str, list[float]] = {"rest": [], "type": []}
        with typists(daemon, setting.effort.typists) as others:
            for _ in range(PARTS):
                for order, samples in found.items():
                    others.tell(order)
                    samples += _keys(probe, keys)
    return [
        Series("alone", "s", tuple(alone)),
        Series("others rest", "s", tuple(found["rest"])),
        Series("others type", "s", tuple(found["type"])),
    ]


def _keys(probe: typist.Typist, count: int) -> list[float]:
    samples: list[float] = []
    for _ in range(count):
        samples.append(probe.type())
        time.sleep(PAUSE)
    return samples
