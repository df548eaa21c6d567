"""System calls that would lead out of a box. Each is tried with the filters, and as a control without them."""

from dataclasses import replace

import pytest

from runnerd.sandbox import seccomp
from runnerd.sandbox.spec import BoxSpec

from .conftest import Attack

pytestmark = pytest.mark.attack

SIGSYS = "killed 31"

# attack, what the filters make of it, what the kernel alone says ("0": the attack works). Where the kernel alone
# refuses as well, with another word, that is the layer below: capabilities, or a kernel built without the feature.
ATTACKS = [
    ("tiocsti", "EPERM", {"0", "EIO"}),
    ("tiocsti-high", "EPERM", {"0", "EIO"}),
    ("tioclinux", "EPERM", {"ENOTTY", "EINVAL"}),
    ("unshare", "EPERM", {"0"}),
    ("clone-newuser", "EPERM", {"0"}),
    ("clone3", "ENOSYS", {"0"}),
    ("setns", "EPERM", {"EINVAL"}),
    ("pivot_root", "EPERM", {"ENOENT"}),
    ("fsopen", "EPERM", {"0"}),
    ("ptrace", "EPERM", {"0"}),
    ("process_vm_readv", "EPERM", {"0"}),
    ("pidfd_getfd", "EPERM", {"0"}),
    ("keyctl", "EPERM", {"0", "ENOSYS"}),
    ("add_key", "EPERM", {"0", "ENOSYS"}),
    ("perf_event_open", "EPERM", {"EFAULT", "ENOSYS"}),
    ("userfaultfd", "EPERM", {"0", "ENOSYS"}),
    ("io_uring", "ENOSYS", {"0", "EPERM"}),
    ("name_to_handle_at", "EPERM", {"EOVERFLOW"}),
    ("personality", "ENOSYS", {"0"}),
    ("x32", SIGSYS, {"ENOSYS", "0"}),
    ("i386", SIGSYS, {"0", "killed 11"}),
    ("vsock", "ENOSYS", {"0", "EAFNOSUPPORT"}),
    ("vsock-pair", "ENOSYS", {"EOPNOTSUPP", "EAFNOSUPPORT"}),
    ("mptcp", "ENOSYS", {"0", "EPROTONOSUPPORT", "ENOPROTOOPT"}),
    ("packet", "ENOSYS", {"EPERM"}),
    ("alg", "ENOSYS", {"0", "EAFNOSUPPORT"}),
    ("netlink-generic", "ENOSYS", {"0"}),
    ("prlimit-init", "EPERM", {"0"}),
    ("own-filter-prctl", "EPERM", {"0"}),
    ("own-filter", "EPERM", {"0"}),
    ("huge-pages", "EPERM", {"ENOMEM", "0"}),
]


@pytest.mark.parametrize(("name", "contained", "alone"), ATTACKS, ids=[name for name, _, _ in ATTACKS])
async def test_filters_contain(attack: Attack, spec: BoxSpec, name: str, contained: str, alone: set[str]) -> None:
    assert await attack(name) == contained
    assert await attack(name, replace(spec, filters=())) in alone


CGROUP, BEST_EFFORT = (seccomp.filters(best_effort=mode, cache=None) for mode in (False, True))


@pytest.mark.parametrize(
    ("name", "contained"), [("memfd", "ENOSYS"), ("shmget", "ENOSYS"), ("pipe-size", "EPERM"), ("sendfile", "EINVAL")]
)
async def test_memory_that_only_a_cgroup_can_count(attack: Attack, spec: BoxSpec, name: str, contained: str) -> None:
    """Refused where there is none; where there is one it counts them (tests/vm/guest), so programs may have them."""
    assert await attack(name, replace(spec, filters=BEST_EFFORT)) == contained
    assert await attack(name, replace(spec, filters=CGROUP)) == "0"


@pytest.mark.parametrize(("name", "alone"), [("huge-memfd", {"0", "ENOENT", "ENODEV"}), ("huge-segment", {"EINVAL"})])
async def test_huge_pages_are_the_hosts(attack: Attack, spec: BoxSpec, name: str, alone: set[str]) -> None:
    """Refused also where their ordinary kin are allowed: no cgroup of ours counts them."""
    assert await attack(name, replace(spec, filters=CGROUP)) == "EPERM"
    assert await attack(name, replace(spec, filters=BEST_EFFORT)) == "ENOSYS"
    assert await attack(name, replace(spec, filters=())) in alone


@pytest.mark.parametrize("name", ["bpf", "open_by_handle_at"])
async def test_both_filters_and_kernel_refuse(attack: Attack, spec: BoxSpec, name: str) -> None:
    """No control can show these working: the kernel refuses them without capabilities."""
    assert await attack(name) == "EPERM"
    assert await attack(name, replace(spec, filters=())) in ("EPERM", "ENOSYS", "E2BIG", "EFAULT", "EINVAL")


async def test_mount_is_refused_twice(attack: Attack, spec: BoxSpec) -> None:
    """In a namespace of its own, where a program has every capability: by the filters, and by Landlock."""
    assert await attack("mount") == "EPERM"
    assert await attack("mount", replace(spec, filters=())) == "EPERM"
    assert await attack("mount", replace(spec, filters=(), landlock=())) == "0"


async def test_getifaddrs_may_ask(attack: Attack) -> None:
    assert await attack("netlink-route") == "0"


async def test_one_filter_alone_would_not_do(attack: Attack, spec: BoxSpec) -> None:
    """The allow-list has ioctl, so without the other filter TIOCSTI is the kernel's to judge; likewise vsock."""
    allow, deny = spec.filters
    assert await attack("tiocsti", replace(spec, filters=(allow,))) in ("0", "EIO")
    assert await attack("vsock", replace(spec, filters=(deny,))) in ("0", "EAFNOSUPPORT")
