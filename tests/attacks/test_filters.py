"""What the gateway filter refuses is contained without it: the filter is a courtesy, boxes are the barrier.

Of each rule the first example is tried, with no filter before it. The control is the same line, with a harmless thing
of our own put where it reaches for one of the host's: so the line does work, and only what boxes leave out stops it.
"""

import shlex
import socket
import tempfile
from collections.abc import Generator
from pathlib import Path

import pytest
import trio
from msgspec.structs import replace

from runnerd import filters, toolchains
from runnerd.filters import Rule
from runnerd.sandbox.box import open_box
from runnerd.sandbox.host import Host
from runnerd.sandbox.spec import Launch, Limits
from tests.sandbox.running import ENV, Ran, run

from .layers import showing

pytestmark = pytest.mark.attack

RULES = filters.load()
TASKS, GRACE = 32, 16
BOMBS = [rule for rule in RULES if rule.name.startswith("fork-")]

ABSENT, DENIED, READ_ONLY = "No such file or directory", "Permission denied", "Read-only file system"

# rule: what its line meets in a box. Several where hosts differ: a kernel may lack what others only guard.
CONTAINED = {
    "cgroup-write": (f"/sys/fs/cgroup/memory.max: {ABSENT}",),
    "release-agent": ("mount: /tmp/g: must be superuser", "mount: /tmp/g: permission denied"),
    "sysrq": tuple(f"/proc/sysrq-trigger: {met}" for met in (ABSENT, DENIED, READ_ONLY)),
    "core-pattern": tuple(f"/proc/sys/kernel/core_pattern: {met}" for met in (DENIED, READ_ONLY)),
    "host-root": (f"/proc/1/root/etc/passwd: {DENIED}",),
    "nsenter": (f"nsenter: cannot open /proc/1/ns/ipc: {DENIED}",),
    "engine-socket": ("curl: (7)",),
    "raw-disk": (f"'/dev/sda': {READ_ONLY}", f"'/dev/sda': {DENIED}"),
    "disk-mount": ("mount: /tmp/disk: must be superuser", "mount: /tmp/disk: permission denied"),
}


def command(rule: Rule) -> tuple[str, dict[str, bytes]]:
    """How a shell compiles and runs the example, and its files."""
    toolchain = toolchains.load().get(rule.languages[0] if rule.languages else "bash")
    plan = toolchain.plan({"": rule.examples[0].encode()}, None, (), "pipes")
    steps = [plan.compile, plan.run] if plan.compile is not None else [plan.run]
    return " && ".join(map(shlex.join, steps)), plan.files


async def attempt(host: Host, name: str, shown: tuple[Path, str] | None = None) -> Ran:
    """Run the example of a rule; as a control in a box that is `shown` a thing of the host, at that path."""
    line, files = command(next(rule for rule in RULES if rule.name == name))
    spec = host.spec(Limits())
    if shown is None:
        return await run(host, "sh", "-c", line, spec=spec, files=files)
    recipe = showing(host, spec, *shown)
    return await run(host, "sh", "-c", line, spec=replace(spec, landlock=()), files=files, recipe=recipe)


@pytest.fixture
def decoy() -> Generator[Path]:
    """A folder where every box may write."""
    with tempfile.TemporaryDirectory() as made:
        folder = Path(made)
        folder.chmod(0o777)
        yield folder


def writable(path: Path) -> Path:
    path.write_text("before\n")
    path.chmod(0o666)
    return path


def test_every_rule_is_tried() -> None:
    assert sorted(rule.name for rule in RULES) == sorted([*CONTAINED, *(rule.name for rule in BOMBS)])


@pytest.mark.parametrize("name", CONTAINED)
async def test_each_is_contained_without_the_filter(host: Host, name: str) -> None:
    ran = await attempt(host, name)
    assert any(met in ran.stderr for met in CONTAINED[name]), (ran.stdout, ran.stderr)
    assert ran.exit is not None
    assert ran.exit.code != 0


@pytest.mark.parametrize(
    ("name", "target", "file", "after"),
    [
        ("cgroup-write", "/sys/fs/cgroup", "memory.max", "max\n"),
        ("sysrq", "/proc/sys/kernel", "sysrq", "1\n"),
        ("core-pattern", "/proc/sys/kernel", "core_pattern", "|/tmp/x\n"),
    ],
)
async def test_writes_arrive_where_a_box_is_shown_the_folder(
    host: Host, decoy: Path, name: str, target: str, file: str, after: str
) -> None:
    there = writable(decoy / file)
    await attempt(host, name, (decoy, target))
    assert there.read_text() == after


async def test_a_disk_is_overwritten_where_a_box_is_shown_one(host: Host, decoy: Path) -> None:
    disk = writable(decoy / "disk")
    await attempt(host, "raw-disk", (disk, "/dev/sda"))
    assert disk.read_text() == ""


async def test_an_engine_answers_where_a_box_is_shown_its_socket(host: Host, decoy: Path) -> None:
    async def engine(listener: trio.socket.SocketType) -> None:
        connection, _ = await listener.accept()
        with connection:
            await connection.recv(4096)
            await connection.send(b"HTTP/1.0 200 OK\r\n\r\nhunter2")

    path = decoy / "docker.sock"
    with trio.socket.socket(socket.AF_UNIX) as listener:
        await listener.bind(str(path))
        path.chmod(0o666)
        listener.listen()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(engine, listener)
            ran = await attempt(host, "engine-socket", (decoy, "/var/run"))
            nursery.cancel_scope.cancel()
    assert ran.stdout == "hunter2"


async def test_only_the_first_process_is_closed(host: Host) -> None:
    """The same ways lead into a process of one's own: into its root, and to its namespaces, which seccomp then keeps
    from being entered (test_syscalls.py has that with its control, and those of mounts)."""
    own = await run(host, "cat", "/proc/self/root/etc/passwd")
    assert "runner" in own.stdout
    entered = await run(host, "sh", "-c", "nsenter --target $$ --mount --uts --ipc --net --pid sh")
    assert "cannot open" not in entered.stderr
    assert "Operation not permitted" in entered.stderr


@pytest.mark.parametrize("rule", BOMBS, ids=lambda rule: f"{rule.name}-{'-'.join(rule.languages)}")
async def test_bombs_stay_within_their_box_without_the_filter(host: Host, rule: Rule) -> None:
    """They fill it, and no more; test_resources.py has what becomes of them, and the control."""
    line, files = command(rule)
    most = 0
    with trio.fail_after(30):
        async with open_box(host, host.spec(Limits(processes=TASKS, cpu=0))) as box:
            await box.start(Launch(("sh", "-c", line), ENV, "pipes"), files)
            while most < TASKS // 2:
                most = max(most, box.used().tasks)
                await trio.sleep(0.01)
            assert most <= TASKS + GRACE
