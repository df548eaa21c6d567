"""Which cgroup is ours, and what is written into it. The kernel's part is in tests/vm/guest."""

import errno
import os
from pathlib import Path

import pytest

from runnerd.errors import SetupError
from runnerd.sandbox import leaf
from runnerd.sandbox.cgroup import BOXES, DAEMON, Ceiling, ceilings, find
from runnerd.sandbox.leaf import OWN_MEMORY, OWN_TASKS
from runnerd.sandbox.spec import BoxSpec, Limits, MiB

OWN = "0::/runnerd.service\n"


@pytest.fixture
def cgroup(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that looks like the service's cgroup, with systemd's mark (not every /tmp takes attributes)."""
    folder = tmp_path / "runnerd.service"
    folder.mkdir()
    (folder / "cgroup.controllers").write_text("cpuset cpu io memory pids\n")
    (folder / "cgroup.type").write_text("domain\n")
    marks = {(str(folder), "user.delegate"): b"1"}
    monkeypatch.setattr(os, "getxattr", lambda path, name: mark(marks, path, name))  # pyright: ignore
    return folder


def mark(marks: dict[tuple[str, str], bytes], path: Path, name: str) -> bytes:
    try:
        return marks[str(path), name]
    except KeyError:
        raise OSError(errno.ENODATA, "No data available") from None


def mountinfo(folder: Path) -> str:
    return f"31 25 0:26 / {folder.parent} rw - cgroup2 cgroup2 rw\n"


def test_the_cgroup_that_was_delegated(cgroup: Path) -> None:
    assert find(OWN, mountinfo(cgroup)) == cgroup


def test_from_a_leaf_that_was_made_before(cgroup: Path) -> None:
    assert find(f"0::/runnerd.service/{DAEMON}\n", mountinfo(cgroup)) == cgroup
    with pytest.raises(SetupError):
        find(f"0::/runnerd.service/{BOXES}\n", mountinfo(cgroup))


@pytest.mark.parametrize("own", ["8:pids:/\n", ""])
def test_no_cgroup_v2(cgroup: Path, own: str) -> None:
    refused(own, mountinfo(cgroup), "no cgroup v2")


def test_no_mount(cgroup: Path) -> None:
    refused(OWN, "25 30 0:23 / /sys rw - sysfs sysfs rw\n", "no cgroup v2")


def test_another_namespace(cgroup: Path) -> None:
    refused("0::/../other\n", mountinfo(cgroup), "not below any cgroup2 mount")


def test_hybrid(cgroup: Path) -> None:
    (cgroup / "cgroup.controllers").write_text("\n")
    refused(f"8:pids:/\n4:memory:/\n{OWN}", mountinfo(cgroup), "hybrid host", "unified_cgroup_hierarchy")


def test_controllers_that_are_not_delegated(cgroup: Path) -> None:
    (cgroup / "cgroup.controllers").write_text("memory pids\n")
    refused(OWN, mountinfo(cgroup), "lacks the controllers cpu", "Delegate=")


def test_the_hosts_root(cgroup: Path) -> None:
    (cgroup / "cgroup.type").unlink()
    refused(OWN, mountinfo(cgroup), "root cgroup")


def test_not_delegated(cgroup: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ours, as all that a service manager of our own user has made; but so is the folder above."""
    monkeypatch.setattr(os, "getxattr", lambda path, name: mark({}, path, name))  # pyright: ignore
    monkeypatch.setattr(os, "geteuid", lambda: cgroup.stat().st_uid or 1)
    refused(OWN, mountinfo(cgroup), "not delegated", "Delegate=yes")


def test_not_writable(cgroup: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "access", lambda path, mode: False)  # pyright: ignore
    refused(OWN, mountinfo(cgroup), "cannot be written")


def refused(own: str, mounts: str, message: str, hint: str = "") -> None:
    with pytest.raises(SetupError, match=message) as caught:
        find(own, mounts)
    assert hint in caught.value.hint
    assert "--limits best-effort" in caught.value.hint


def test_the_ceiling_is_a_part_of_the_machine() -> None:
    assert ceilings(Ceiling(), memory=1000 * MiB, processes=1000, cores=4) == {
        "memory.high": str(760 * MiB),
        "memory.max": str(800 * MiB),
        "memory.swap.max": "0",
        "pids.max": "800",
        "cpu.max": "max 100000",
    }


def test_the_ceiling_as_configured() -> None:
    found = ceilings(Ceiling(memory=100 * MiB, cpus=1.5, processes=50), memory=1000 * MiB, processes=1000, cores=4)
    assert (found["memory.max"], found["pids.max"], found["cpu.max"]) == (str(100 * MiB), "50", "150000 100000")


def test_what_a_leaf_gets() -> None:
    limits = Limits(memory=100 * MiB, processes=30, cpus=0.5, io=4096)
    assert leaf.settings(BoxSpec(limits=limits), ("8:0", "254:0")) == {
        "memory.max": [str(100 * MiB + OWN_MEMORY)],
        "memory.swap.max": ["0"],
        "memory.oom.group": ["1"],
        "pids.max": [str(30 + OWN_TASKS)],
        "cpu.weight": ["50"],
        "io.max": ["8:0 rbps=4096 wbps=4096", "254:0 rbps=4096 wbps=4096"],
    }
    assert leaf.settings(BoxSpec(limits=Limits()), ("8:0",))["io.max"] == []


def test_only_what_the_kernel_offers_is_written(tmp_path: Path) -> None:
    (tmp_path / "pids.max").write_text("")
    folder = os.open(tmp_path, os.O_RDONLY)
    try:
        leaf.apply(folder, {"pids.max": ["7"], "memory.swap.max": ["0"]}, {"pids.max", "memory.max"})
        with pytest.raises(OSError, match="No such file"):
            leaf.apply(folder, {"memory.max": ["7"]}, {"memory.max"})
    finally:
        os.close(folder)
    assert (tmp_path / "pids.max").read_text() == "7"
    assert not (tmp_path / "memory.swap.max").exists()
