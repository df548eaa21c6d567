"""Proportional memory of processes: pages that several share are divided among them."""

import os
from collections.abc import Mapping
from pathlib import Path

from runnerd.bench.errors import Missing

Pid = int


def proportional(pid: Pid) -> int:
    """Bytes. Raises Missing without the right to look, OSError when the process has gone."""
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    except PermissionError as problem:
        raise Missing("memory of other processes cannot be read", hint="run it as root") from problem
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("Pss:"))


def parents() -> dict[Pid, Pid]:
    """The parent of each process of this host."""
    found: dict[Pid, Pid] = {}
    for entry in os.listdir("/proc"):
        if entry.isdigit():
            try:
                stat = Path(f"/proc/{entry}/stat").read_text()
            except OSError:
                continue
            found[int(entry)] = int(stat.rpartition(")")[2].split()[1])
    return found


def families(parents: Mapping[Pid, Pid], root: Pid) -> dict[Pid, list[Pid]]:
    """All that descend from `root`, by the child of `root` that each comes from, itself among them. Pure."""
    found: dict[Pid, list[Pid]] = {}
    for pid in parents:
        above = pid
        while (parent := parents.get(above)) not in (None, root):
            above = parent
        if parent == root:
            found.setdefault(above, []).append(pid)
    return found
