"""System calls that would lead out of a box. Each is tried with the filters, and as a control without them."""

import subprocess
from pathlib import Path

import pytest
from msgspec.structs import replace

from runnerd.sandbox import seccomp
from runnerd.sandbox.host import Host
from runnerd.sandbox.seccomp import compile_policy, policies
from runnerd.sandbox.spec import BoxSpec
from tests.sandbox.running import run

from .conftest import Attack, Unboxed

pytestmark = pytest.mark.attack

SIGSYS = "killed 31"
CAP_DAC_READ_SEARCH = 1 << 2

# attack, what the filters make of it, what the kernel alone says ("0": the attack works). Where the kernel alone
# refuses as well, with another word, that is the layer below: capabilities, or what the call was given. Several words
# where kernels differ (a feature not built, or switched off by a sysctl): a try outside of any box then says which.
ATTACKS = [
    ("tiocsti", "EPERM", {"0", "EIO"}),
    ("tiocsti-high", "EPERM", {"0", "EIO"}),
    ("tioclinux", "EPERM", {"ENOTTY", "EINVAL"}),
    ("unshare", "EPERM", {"0"}),
    ("clone-newuser", "EPERM", {"0"}),
    ("clone3", "ENOSYS", {"0"}),
    ("setns", "EPERM", {"EINVAL"}),
    ("ptrace", "EPERM", {"0"}),
    ("process_vm_readv", "EPERM", {"0"}),
    ("process_vm_writev", "EPERM", {"0"}),
    ("pidfd_getfd", "EPERM", {"0"}),
    ("keyctl", "EPERM", {"0", "ENOSYS"}),
    ("add_key", "EPERM", {"0", "ENOSYS"}),
    ("bpf", "EPERM", {"E2BIG", "EPERM", "ENOSYS"}),
    ("perf_event_open", "EPERM", {"EFAULT", "ENOSYS"}),
    ("userfaultfd", "EPERM", {"0", "ENOSYS"}),
    ("io_uring", "ENOSYS", {"0", "EPERM", "ENOSYS"}),
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
    ("setpriority-init", "EPERM", {"0"}),
    ("setpriority-user", "EPERM", {"0"}),
    ("sched_setscheduler-init", "EPERM", {"0"}),
    ("sched_setparam-init", "EPERM", {"0"}),
    ("sched_setattr", "ENOSYS", {"0"}),
    ("sched_setaffinity-init", "EPERM", {"0"}),
    ("ioprio_set-init", "EPERM", {"0"}),
    ("ioprio_set-user", "EPERM", {"0"}),
    ("own-filter-prctl", "EPERM", {"0"}),
    ("own-filter", "EPERM", {"0"}),
    ("socket-filter", "EPERM", {"0"}),
    ("socket-filter-reuseport", "EPERM", {"0"}),
    ("vmsplice", "ENOSYS", {"0"}),
    ("huge-pages", "EPERM", {"ENOMEM", "0"}),
]


@pytest.mark.parametrize(("name", "contained"), [row[:2] for row in ATTACKS], ids=[row[0] for row in ATTACKS])
async def test_filters_contain(attack: Attack, name: str, contained: str) -> None:
    assert await attack(name) == contained


@pytest.fixture
def kernel(unboxed: Unboxed, name: str, contained: str, alone: set[str]) -> set[str]:
    """What this kernel alone should say. A skip where that is the filters' own word, as no control can tell."""
    if len(alone) == 1:
        return alone
    said = unboxed(name)
    assert said in alone
    if said == contained:
        pytest.skip(f"outside of any box this kernel says {said} to {name} as well")
    return {said}


@pytest.mark.parametrize(("name", "contained", "alone"), ATTACKS, ids=[row[0] for row in ATTACKS])
async def test_without_filters_the_kernel_answers(attack: Attack, spec: BoxSpec, name: str, kernel: set[str]) -> None:
    assert await attack(name, replace(spec, filters=())) in kernel


def deny_but(*calls: str) -> bytes:
    """The second filter without its rules for these calls. Used alone it leaves out the allow-list."""
    deny = policies(best_effort=True)[1]
    rules = [replace(rule, calls=tuple(call for call in rule.calls if call not in calls)) for rule in deny.rules]
    return compile_policy(replace(deny, rules=tuple(rules)))


MOUNTS = {
    "mount": "0",
    "umount2": "ENOENT",
    "pivot_root": "ENOENT",
    "chroot": "0",
    "move_mount": "ENOENT",
    "open_tree": "0",
    "fsopen": "0",
    "fsconfig": "EINVAL",
    "fsmount": "EBADF",
    "fspick": "ENOENT",
    "mount_setattr": "ENOENT",
}
"""What the kernel says in a namespace where the program has every capability: yes, or that there is no such thing."""


@pytest.mark.parametrize("name", MOUNTS)
async def test_mounts_are_refused_by_their_own_rule(attack: Attack, spec: BoxSpec, name: str) -> None:
    """Even where a program has made itself namespaces: the other layers are taken away, then this rule as well."""
    assert await attack(name) == "preparing EPERM"
    assert await attack(name, replace(spec, landlock=(), filters=(deny_but("unshare"),))) == "EPERM"
    assert await attack(name, replace(spec, landlock=(), filters=(deny_but("unshare", name),))) == MOUNTS[name]


CGROUP, BEST_EFFORT = (seccomp.filters(best_effort=mode, cache=None) for mode in (False, True))


@pytest.mark.parametrize(
    ("name", "contained"),
    [
        ("memfd", "ENOSYS"),
        ("shmget", "ENOSYS"),
        ("pipe-size", "EPERM"),
        ("sendfile", "EINVAL"),
        ("splice", "EINVAL"),
        ("tee", "EINVAL"),
    ],
)
async def test_memory_that_only_a_cgroup_can_count(attack: Attack, spec: BoxSpec, name: str, contained: str) -> None:
    """Refused where there is none; where there is one it counts them (tests/vm/boxes), so programs may have them."""
    assert await attack(name, replace(spec, filters=BEST_EFFORT)) == contained
    assert await attack(name, replace(spec, filters=CGROUP)) == "0"


@pytest.mark.parametrize(("name", "alone"), [("huge-memfd", {"0", "ENOENT", "ENODEV"}), ("huge-segment", {"EINVAL"})])
async def test_huge_pages_are_the_hosts(attack: Attack, spec: BoxSpec, name: str, alone: set[str]) -> None:
    """Refused also where their ordinary kin are allowed: no cgroup of ours counts them."""
    assert await attack(name, replace(spec, filters=CGROUP)) == "EPERM"
    assert await attack(name, replace(spec, filters=BEST_EFFORT)) == "ENOSYS"
    assert await attack(name, replace(spec, filters=())) in alone


async def test_both_filters_and_kernel_refuse_file_handles(host: Host, attack: Attack, spec: BoxSpec) -> None:
    """Without the filters a program lacks the capability for them."""
    assert await attack("open_by_handle_at") == "EPERM"
    bare = replace(spec, filters=())
    assert await attack("open_by_handle_at", bare) in ("EPERM", "ENOSYS")
    held = await run(host, "grep", "^Cap", "/proc/self/status", spec=bare)
    assert [int(line.split()[1], 16) for line in held.stdout.splitlines()] == [0] * 5


def test_file_handles_are_looked_at_where_both_layers_lack(attacker: Path) -> None:
    """The control: root outside of any box comes past the capability's check, and without its capabilities does not."""
    status = Path("/proc/self/status").read_text()
    if not int(status.split("CapEff:")[1].split()[0], 16) & CAP_DAC_READ_SEARCH:
        pytest.skip("only root with CAP_DAC_READ_SEARCH can open file handles")
    bare = ("setpriv", "--bounding-set=-all", "--inh-caps=-all")
    for layer, said in ((), {"ESTALE", "EINVAL", "EOPNOTSUPP"}), (bare, {"EPERM"}):
        command = (*layer, attacker, "open_by_handle_at")
        ran = subprocess.run(command, capture_output=True, text=True, check=True)
        assert ran.stdout.split()[1] in said


@pytest.mark.parametrize("kind", ["newns", "newcgroup", "newuts", "newipc", "newpid", "newnet"])
async def test_each_kind_of_namespace_is_refused_to_clone(attack: Attack, spec: BoxSpec, kind: str) -> None:
    """Even where a program has made itself a user namespace, so that the kernel would give it all the others."""
    name = f"clone-{kind}"
    assert await attack(name, replace(spec, filters=(deny_but("unshare"),))) == "EPERM"
    assert await attack(name, replace(spec, filters=(deny_but("unshare", "clone"),))) == "0"


async def test_mount_is_refused_twice(attack: Attack, spec: BoxSpec) -> None:
    """In a namespace of its own, where a program has every capability: by the filters, and by Landlock."""
    assert await attack("mount", replace(spec, filters=(deny_but("unshare"),))) == "EPERM"
    assert await attack("mount", replace(spec, filters=())) == "EPERM"
    assert await attack("mount", replace(spec, filters=(), landlock=())) == "0"


async def test_getifaddrs_may_ask(attack: Attack) -> None:
    assert await attack("netlink-route") == "0"


async def test_one_filter_alone_would_not_do(attack: Attack, spec: BoxSpec) -> None:
    """The allow-list has ioctl, so without the other filter TIOCSTI is the kernel's to judge; likewise vsock."""
    allow, deny = spec.filters
    assert await attack("tiocsti", replace(spec, filters=(allow,))) in ("0", "EIO")
    assert await attack("vsock", replace(spec, filters=(deny,))) in ("0", "EAFNOSUPPORT")
