"""Runs scenarios, one after the other, each with an empty folder and daemons of its own."""

import os
import platform
import tempfile
from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from pathlib import Path

from runnerd import __version__
from runnerd.bench.daemon import serving
from runnerd.bench.errors import Missing, said
from runnerd.bench.results import Machine, Report, Result, result
from runnerd.bench.scenario import Effort, Setting, load


def measure(names: Iterable[str], effort: Effort, limits: str, tell: Callable[[Result], None]) -> Report:
    """Each result is told as soon as it is there. What cannot be measured is told as well, and ends nothing else.

    Raises Broken when the daemon does not start at all.
    """
    now, where = datetime.now(UTC), machine()
    with tempfile.TemporaryDirectory(prefix="runnerd-bench-") as folder, serving(Path(folder), limits) as daemon:
        held = daemon.limits()
    results: list[Result] = []
    for name in names:
        results.append(_measure(name, effort, limits))
        tell(results[-1])
    return Report(__version__, now.isoformat(timespec="seconds"), where, held, tuple(results))


def _measure(name: str, effort: Effort, limits: str) -> Result:
    scenario = load(name)
    with tempfile.TemporaryDirectory(prefix="runnerd-bench-") as folder:
        setting = Setting(effort, Path(folder), limits)
        try:
            series = scenario.measure(setting)
        except Missing as missing:
            return Result(name, scenario.ABOUT, left_out=(*setting.left_out, f"all of it: {said(missing)}"))
        except Exception as problem:  # whatever it was, the others shall be measured
            return Result(name, scenario.ABOUT, left_out=tuple(setting.left_out), failed=said(problem))
    return result(name, scenario.ABOUT, series, scenario.AIMS, setting.left_out)


def machine() -> Machine:
    processor = _field("/proc/cpuinfo", "model name", ":") or platform.machine()
    return Machine(
        processor=processor,
        cores=len(os.sched_getaffinity(0)),
        memory=os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
        kernel=platform.release(),
        system=_field("/etc/os-release", "PRETTY_NAME", "=").strip('"') or platform.system(),
        python=platform.python_version(),
        load=round(os.getloadavg()[0], 2),
    )


def _field(file: str, name: str, separator: str) -> str:
    try:
        lines = Path(file).read_text().splitlines()
    except OSError:
        return ""
    found = (line.partition(separator) for line in lines)
    return next((value.strip() for key, _, value in found if key.strip() == name), "")
