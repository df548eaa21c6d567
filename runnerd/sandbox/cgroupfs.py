"""What the files of cgroup v2 say, and what is written into them. Pure."""

import re
from collections.abc import Iterable
from pathlib import Path, PurePosixPath

import msgspec

PERIOD = 100_000
"""Microseconds in which a box may use its quota of CPU time."""
_QUOTA_LEAST = 1000
"""The kernel refuses a smaller quota."""


class Mount(msgspec.Struct, frozen=True):
    """A cgroup2 mount: which cgroup its top shows, as seen from our cgroup namespace, and where it is mounted."""

    root: str
    point: str


def own_path(text: str) -> str | None:
    """Our cgroup by /proc/self/cgroup, from the root of our cgroup namespace; None without cgroup v2."""
    return next((line[3:] for line in text.splitlines() if line.startswith("0::/")), None)


def old_controllers(text: str) -> set[str]:
    """Controllers that /proc/self/cgroup shows in hierarchies of version 1, where version 2 cannot have them."""
    return {name for line in text.splitlines() for name in line.split(":", 2)[1].split(",") if name}


def mounts(text: str) -> list[Mount]:
    """All cgroup2 mounts of /proc/self/mountinfo."""
    found: list[Mount] = []
    for line in text.splitlines():
        before, _, after = line.partition(" - ")
        if after.startswith("cgroup2 "):
            _, _, _, root, point, *_ = before.split(" ")
            found.append(Mount(_plain(root), _plain(point)))
    return found


def folder(path: str, found: Iterable[Mount]) -> Path | None:
    """Where a cgroup's folder is, if some mount shows it."""
    if ".." not in PurePosixPath(path).parts:  # else it is outside of our namespace
        for mount in found:
            if PurePosixPath(path).is_relative_to(mount.root):
                return Path(mount.point) / PurePosixPath(path).relative_to(mount.root)
    return None


def keyed(text: str) -> dict[str, int]:
    """A flat keyed file, such as memory.events: "oom 0\\noom_kill 0\\n"."""
    return {name: int(value) for name, _, value in (line.partition(" ") for line in text.splitlines())}


def size(text: str) -> int | None:
    """A limit's value; None for "max"."""
    return None if text.strip() == "max" else int(text)


def cpu_max(cpus: float, cores: int) -> str | None:
    """cpu.max for so many cores: quota and period; None where the machine has no more."""
    if cpus >= cores:
        return None
    return f"{max(_QUOTA_LEAST, round(cpus * PERIOD))} {PERIOD}"


def cpu_weight(cpus: float) -> int:
    """cpu.weight in proportion to the cores that were granted; one core is the kernel's own 100."""
    return min(10_000, max(1, round(cpus * 100)))


def io_max(disk: str, rate: int) -> str:
    """io.max of one disk ("8:0") for so many bytes per second, read and written alike."""
    return f"{disk} rbps={rate} wbps={rate}"


def stalled(text: str) -> float:
    """Percent of the last ten seconds in which some task waited, by a pressure file. Raises ValueError."""
    found = re.search(r"^some avg10=(\d+(?:\.\d+)?) ", text, re.MULTILINE)
    if found is None:
        raise ValueError(f"no pressure file: {text[:60]!r}")
    return float(found[1])


def missing(needed: Iterable[str], controllers: str) -> list[str]:
    """Which of these controllers a cgroup.controllers or cgroup.subtree_control does not name."""
    return sorted(set(needed) - set(controllers.split()))


def _plain(word: str) -> str:
    """A path of mountinfo, which writes blanks and backslashes in octal."""
    return re.sub(r"\\([0-7]{3})", lambda found: chr(int(found[1], 8)), word)
