"""Texts of cgroup v2, as kernels have written them."""

import math
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runnerd.sandbox import cgroupfs
from runnerd.sandbox.cgroupfs import Mount

UNIFIED = "0::/system.slice/runnerd.service\n"
HYBRID = "9:name=systemd:/\n8:pids:/\n4:cpu,cpuacct:/x\n0::/system.slice/runnerd.service\n"

MOUNTINFO = """\
25 30 0:23 / /sys rw,nosuid shared:7 - sysfs sysfs rw
31 25 0:26 / /sys/fs/cgroup rw,nosuid,nodev shared:8 - cgroup2 cgroup2 rw,nsdelegate,memory_recursiveprot
38 31 0:35 / /sys/fs/cgroup/blkio rw,relatime - cgroup cgroup rw,blkio
41 31 0:38 /a\\040b /mnt/c\\134d rw - cgroup2 none rw
"""


def test_own_cgroup() -> None:
    assert cgroupfs.own_path(UNIFIED) == cgroupfs.own_path(HYBRID) == "/system.slice/runnerd.service"
    assert cgroupfs.own_path("9:name=systemd:/\n8:pids:/\n") is None


def test_controllers_of_version_1() -> None:
    assert cgroupfs.old_controllers(UNIFIED) == set()
    assert cgroupfs.old_controllers(HYBRID) == {"name=systemd", "pids", "cpu", "cpuacct"}


def test_mounts() -> None:
    assert cgroupfs.mounts(MOUNTINFO) == [Mount("/", "/sys/fs/cgroup"), Mount("/a b", "/mnt/c\\d")]


@pytest.mark.parametrize(
    ("path", "mounts", "folder"),
    [
        ("/a/b", [Mount("/", "/sys/fs/cgroup")], "/sys/fs/cgroup/a/b"),
        ("/", [Mount("/", "/sys/fs/cgroup")], "/sys/fs/cgroup"),
        ("/a/b", [Mount("/x", "/no"), Mount("/a", "/mnt")], "/mnt/b"),
        ("/ab", [Mount("/a", "/mnt")], None),
        ("/../other", [Mount("/", "/sys/fs/cgroup")], None),
        ("/a", [], None),
    ],
)
def test_folder_of_a_cgroup(path: str, mounts: list[Mount], folder: str | None) -> None:
    assert cgroupfs.folder(path, mounts) == (Path(folder) if folder else None)


def test_keyed() -> None:
    assert cgroupfs.keyed("low 0\nmax 12\noom 3\n") == {"low": 0, "max": 12, "oom": 3}
    assert cgroupfs.keyed("") == {}


def test_size() -> None:
    assert (cgroupfs.size("max\n"), cgroupfs.size("4096\n")) == (None, 4096)


def test_missing() -> None:
    assert cgroupfs.missing(("pids", "cpu", "memory"), "cpuset cpu io\n") == ["memory", "pids"]


@pytest.mark.parametrize(
    ("cpus", "cores", "written"),
    [(0.2, 2, "20000 100000"), (1.5, 2, "150000 100000"), (2.0, 2, None), (64, 2, None), (0.001, 2, "1000 100000")],
)
def test_cpu_max(cpus: float, cores: int, written: str | None) -> None:
    assert cgroupfs.cpu_max(cpus, cores) == written


@given(st.floats(1e-9, 8192), st.integers(1, 8192))
def test_quotas_are_such_as_the_kernel_takes(cpus: float, cores: int) -> None:
    written = cgroupfs.cpu_max(cpus, cores)
    assert (written is None) == (cpus >= cores)
    if written is not None:
        quota, period = map(int, written.split())
        assert quota >= 1000
        assert quota == 1000 or math.isclose(quota / period, cpus, abs_tol=1e-5)


@given(st.floats(1e-9, 8192))
def test_weights_are_such_as_the_kernel_takes(cpus: float) -> None:
    assert 1 <= cgroupfs.cpu_weight(cpus) <= 10000
    assert cgroupfs.cpu_weight(1.0) == 100


def test_io_max() -> None:
    assert cgroupfs.io_max("8:0", 4096) == "8:0 rbps=4096 wbps=4096"


def test_pressure() -> None:
    text = "some avg10=12.34 avg60=4.65 avg300=5.63 total=139632773\nfull avg10=1.00 avg60=0.00 avg300=0.00 total=0\n"
    assert cgroupfs.stalled(text) == 12.34
    with pytest.raises(ValueError, match="no pressure file"):
        cgroupfs.stalled("")


@given(st.text())
def test_whatever_a_file_says_is_read_or_refused(text: str) -> None:
    cgroupfs.own_path(text)
    try:
        cgroupfs.stalled(text)
    except ValueError:
        pass
