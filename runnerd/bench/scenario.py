"""What a scenario is, and what it is given."""

import importlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Protocol, TypeVar, cast

import msgspec

from runnerd.bench.errors import Broken, Missing, said
from runnerd.bench.results import Aim, Series

NAMES = (
    "python-hello",
    "node-hello",
    "java-hello",
    "c-hello",
    "cpp-hello",
    "keystroke",
    "crowd",
    "throughput",
    "idle",
    "flood",
    "interrupt",
    "rest",
    "start",
)
"""All of them, in the order they are run; each is a module of `runnerd.bench.scenarios`."""

T = TypeVar("T")


class Effort(msgspec.Struct, frozen=True):
    """How much is measured: `runs` samples of what takes some milliseconds (more of what is quicker, fewer of what is
    slower), `seconds` for each turn of a rate, `typists` at once, `boxes` idle."""

    runs: int = 60
    seconds: float = 3.0
    typists: int = 200
    boxes: int = 500

    def some(self, part: float) -> int:
        """So many times `runs`, at least two."""
        return max(2, round(self.runs * part))


QUICK = Effort(runs=5, seconds=0.3, typists=20, boxes=20)


class Setting(msgspec.Struct, frozen=True):
    """`folder` is the scenario's own and empty; `limits` is how the daemon shall hold its boxes; `left_out` grows."""

    effort: Effort
    folder: Path
    limits: str = "auto"
    left_out: list[str] = msgspec.field(default_factory=list[str])

    def subfolder(self, name: str) -> Path:
        folder = self.folder / name
        folder.mkdir()
        return folder

    def file(self, name: str, text: str) -> Path:
        file = self.folder / name
        file.write_text(text)
        return file

    def peer(self, name: str, make: Callable[[], T]) -> T | None:
        """What `make` makes, or None, which is told, when the host lacks it or it does not work here."""
        try:
            return make()
        except (Missing, Broken, OSError) as problem:
            self.left_out.append(f"{name}: {said(problem)}")
            return None


class Scenario(Protocol):
    """A module with these names. `measure` raises Missing where it cannot be measured at all."""

    ABOUT: str
    AIMS: tuple[Aim, ...]

    @staticmethod
    def measure(setting: Setting) -> Sequence[Series]: ...


def load(name: str) -> Scenario:
    module = importlib.import_module(f"runnerd.bench.scenarios.{name.replace('-', '_')}")
    return cast("Scenario", module)
