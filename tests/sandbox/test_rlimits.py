import resource

from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from runnerd.sandbox.rlimits import rlimits, within
from runnerd.sandbox.spec import Limits, MiB


def test_what_languages_need_is_left_to_them() -> None:
    """JVM, node and Go reserve many gigabytes of addresses."""
    assert resource.RLIMIT_AS not in rlimits(Limits())
    assert resource.RLIMIT_DATA not in rlimits(Limits())


def test_kernel_memory_outside_of_every_count_is_closed() -> None:
    values = rlimits(Limits())
    msgqueue = 12
    assert values[resource.RLIMIT_CORE] == values[msgqueue] == 0
    assert values[resource.RLIMIT_MEMLOCK] <= MiB


def test_the_largest_mount_bounds_a_file() -> None:
    assert rlimits(Limits(work=3, tmp=5, shm=4))[resource.RLIMIT_FSIZE] == 5


@given(st.floats(0.01, 1e5))
def test_the_boxs_own_count_of_cpu_time_comes_first(cpu: float) -> None:
    assert rlimits(replace(Limits(), cpu=cpu))[resource.RLIMIT_CPU] >= cpu + 1


def test_no_limit_of_cpu_time_when_it_is_zero() -> None:
    assert resource.RLIMIT_CPU not in rlimits(Limits(cpu=0))


@given(st.integers(1, 10000), st.integers(1, 10000))
def test_processes_and_descriptors(processes: int, files: int) -> None:
    values = rlimits(Limits(processes=processes, files=files))
    assert values[resource.RLIMIT_NPROC] == processes + 2
    assert values[resource.RLIMIT_NOFILE] == files


def test_a_cgroup_refuses_processes_first() -> None:
    assert rlimits(Limits(), cgroup=True)[resource.RLIMIT_NPROC] > rlimits(Limits())[resource.RLIMIT_NPROC]


def test_none_is_above_what_we_may_give() -> None:
    hard = {1: 5, 2: resource.RLIM_INFINITY, 3: 7}
    assert within({1: 9, 2: 9, 3: 6}, hard.__getitem__) == {1: 5, 2: 9, 3: 6}
