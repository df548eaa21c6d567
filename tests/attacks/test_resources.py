"""Attempts to use up the host. A test says what contained each, and what the host lost.

The control of what holds the boxes (the watcher, or with RUNNERD_TEST_LIMITS=cgroup the kernel) is the same box with
its limit out of reach: there the attack goes on.
"""

import errno
import os
import subprocess
import tempfile
from pathlib import Path

import pytest
import trio
from msgspec.structs import replace

from runnerd.sandbox import seccomp
from runnerd.sandbox.box import open_box
from runnerd.sandbox.host import Host
from runnerd.sandbox.recipe import TERMINALS
from runnerd.sandbox.spec import BoxSpec, Launch, Limits, Outcome
from tests.sandbox.running import ENV, finish, run

from .layers import showing, without

pytestmark = pytest.mark.attack

MiB = 1024 * 1024
LIMIT = 160 * MiB
PATIENCE = 400.0
"""Seconds: an emulated machine is ten times as slow."""


def available() -> int:
    """Bytes that the host has free for programs."""
    for line in Path("/proc/meminfo").read_text().splitlines():
        if line.startswith("MemAvailable:"):
            return int(line.split()[1]) * 1024
    raise AssertionError("no MemAvailable")


async def worst_loss(host: Host, code: str, limits: Limits) -> tuple[Outcome | None, int, str]:
    """Run python code in a box until it ends or the box does: the limit it broke, and the most memory the host lost."""
    before = available()
    worst = 0

    async def look() -> None:
        nonlocal worst
        while True:
            worst = max(worst, before - available())
            await trio.sleep(0.005)

    with trio.fail_after(PATIENCE):
        async with open_box(host, host.spec(limits)) as box:
            process = await box.start(Launch(("python3", "-c", code), ENV, "pipes"))
            async with trio.open_nursery() as nursery:
                nursery.start_soon(look)
                stdout, stderr = await finish(process)
                nursery.cancel_scope.cancel()
            return box.exceeded, worst, stdout + stderr


MEMORY = {
    "heap": "data = []\nwhile True: data.append(bytearray(1 << 20))",
    "forks": "import os\nfor _ in range(8): os.fork()\ndata = []\nwhile True: data.append(bytearray(1 << 20))",
    "shared pages taken out of page tables": (
        "import mmap\nkept = []\nwhile True:\n"
        "  pages = mmap.mmap(-1, 8 << 20)\n  pages.write(b'x' * (8 << 20))\n  pages.madvise(mmap.MADV_DONTNEED)\n"
        "  kept.append(pages)"
    ),
    "socket buffers": (
        "import socket\nkept = []\nwhile True:\n  a, b = socket.socketpair()\n  a.setblocking(False)\n"
        "  kept += [a, b]\n  try:\n    while True: a.send(b'x' * 65536)\n  except BlockingIOError: pass"
    ),
    "pipes": (
        "import os, time\nkept = []\nwhile True:\n  try: r, w = os.pipe()\n  except OSError: time.sleep(100)\n"
        "  os.set_blocking(w, False)\n  try:\n    while True: os.write(w, b'x' * 4096)\n  except BlockingIOError: pass"
    ),
    "tmpfs": (
        "import itertools\nfor n in itertools.count():\n  for folder in ('/work', '/tmp', '/dev/shm'):\n"
        "    try: open(f'{folder}/{n}', 'wb').write(b'x' * (1 << 20))\n    except OSError: pass"
    ),
    "inodes": (
        "import itertools, os\nfor n in itertools.count():\n  if n % 1000 == 0: os.mkdir(f'/tmp/{n // 1000}')\n"
        "  os.close(os.open(f'/tmp/{n // 1000}/{n}', os.O_CREAT))"
    ),
}


TRIES = 3
"""MemAvailable is the whole host's: another program may take some at the same time."""

SMALLER = {"pipes": 60 * MiB, "inodes": 60 * MiB}
"""A uid's pipes hold 64 MiB before the kernel makes them small: too little to break the others' limit. Inodes are made
one by one: filling more of them takes an emulated machine longer than the time that a box has."""


def bounded(name: str) -> Limits:
    """The limits that an attack on memory meets."""
    memory = SMALLER.get(name, LIMIT)
    return Limits(memory=memory, processes=64, cpu=PATIENCE, work=200 * MiB, tmp=200 * MiB, shm=64 * MiB, files=4096)


@pytest.mark.parametrize("name", MEMORY)
async def test_memory(host: Host, name: str) -> None:
    limits = bounded(name)
    losses: list[int] = []
    while not losses or (losses[-1] >= 2 * limits.memory and len(losses) < TRIES):
        outcome, lost, said = await worst_loss(host, MEMORY[name], limits)
        assert outcome is Outcome.MEMORY, said
        losses.append(lost)
    assert min(losses) < 2 * limits.memory, losses


@pytest.mark.parametrize("name", MEMORY)
async def test_memory_goes_on_without_the_limit(host: Host, name: str) -> None:
    """The control: the same attack takes more than that where the limit on memory alone is four times as high, which
    spares the host."""
    limits = bounded(name)
    with trio.fail_after(PATIENCE):
        async with open_box(host, host.spec(replace(limits, memory=4 * limits.memory))) as box:
            await box.start(Launch(("python3", "-c", MEMORY[name]), ENV, "pipes"))
            while box.used().peak <= limits.memory:
                assert not box.ended.is_set(), box.failure
                await trio.sleep(0.001)


async def test_memory_without_the_limit(host: Host) -> None:
    """The control: the same allocation goes through where the limit is out of reach."""
    code = "data = [bytearray(1 << 20) for _ in range(250)]; print(len(data))"
    assert (await worst_loss(host, code, Limits(memory=2048 * MiB)))[::2] == (None, "250\n")
    assert (await worst_loss(host, code, Limits(memory=LIMIT)))[0] is Outcome.MEMORY


@pytest.mark.parametrize("call", ["os.memfd_create('x')", "ctypes.CDLL(None, use_errno=True).shmget(0, 4096, 0o600)"])
async def test_memory_that_cannot_be_counted_cannot_be_had(host: Host, call: str) -> None:
    code = (
        f"import ctypes, os\ntry:\n  assert {call} >= 0 or print(ctypes.get_errno())\n"
        "except OSError as e: print(e.errno)"
    )
    spec = replace(host.spec(Limits()), filters=seccomp.filters(best_effort=True, cache=None))
    ran = await run(host, "python3", "-c", code, spec=spec)
    assert ran.stdout == f"{errno.ENOSYS}\n"


FORKS = {
    "fork": ("python3", "-c", "import os\nwhile True:\n  try: os.fork()\n  except OSError: pass"),
    "setsid and double fork": (
        "python3",
        "-c",
        "import os\nwhile True:\n  try:\n    if os.fork() == 0:\n      os.setsid()\n      if os.fork(): os._exit(0)\n"
        "  except OSError: pass",
    ),
    "threads": (
        "python3",
        "-c",
        "import threading, time\nwhile True:\n  try: threading.Thread(target=time.sleep, args=(100,)).start()\n"
        "  except RuntimeError: pass",
    ),
    "vfork": ("/opt/attack", "vfork-bomb"),
}
TASKS = 40
CPU = 2.0
"""Seconds: in an emulated machine nsjail and a Python's start may take one of them."""
GRACE = 8
"""Init and the leader, and tasks that were counted between two looks at the box."""


@pytest.mark.parametrize("name", FORKS)
async def test_bombs_do_not_spread(host: Host, spec: BoxSpec, name: str) -> None:
    """They meet EAGAIN at the limit and burn their own time; the end takes every one of them."""
    most = 0
    with trio.fail_after(30):
        async with open_box(host, replace(spec, limits=Limits(processes=TASKS, cpu=CPU))) as box:
            await box.start(Launch(FORKS[name], ENV, "pipes"))
            await box.alive()
            assert box.handles is not None
            tasks = Path(f"/proc/{box.handles.init}/task")
            assert tasks.exists()
            while not box.ended.is_set():
                most = max(most, box.used().tasks)
                await trio.sleep(0.01)
            assert box.exceeded in (Outcome.CPU, Outcome.PROCESSES)
            assert TASKS / 2 < most <= TASKS + GRACE
    assert not tasks.exists()


@pytest.mark.parametrize("name", FORKS)
async def test_bombs_spread_without_the_limit(host: Host, spec: BoxSpec, name: str) -> None:
    """The control: the same bombs pass that number where the limit is out of their reach."""
    with trio.fail_after(30):
        async with open_box(host, replace(spec, limits=Limits(processes=2 * TASKS, memory=1 << 40, cpu=0))) as box:
            await box.start(Launch(FORKS[name], ENV, "pipes"))
            while box.used().tasks <= TASKS + GRACE:
                await trio.sleep(0.001)


def fill(folder: str) -> tuple[str, ...]:
    """A program that writes one file until it cannot, at most 32 MiB, and says why it stopped and how far it came."""
    code = (
        f"file = open('{folder}/big', 'wb', buffering=0)\nwritten = 0\n"
        "try:\n  while written < 32 << 20: written += file.write(b'x' * 65536)\n"
        "except OSError as e: print(e.errno, written)\nelse: print(0, written)"
    )
    return "python3", "-c", code


@pytest.mark.parametrize("folder", ["/work", "/tmp", "/dev/shm"])
async def test_folders_are_full_at_their_size(host: Host, folder: str) -> None:
    limits = Limits(memory=256 * MiB, work=8 * MiB, tmp=8 * MiB, shm=8 * MiB)
    number, written = (await run(host, *fill(folder), spec=host.spec(limits))).stdout.split()
    assert int(number) in (errno.ENOSPC, errno.EFBIG)
    assert int(written) <= 8 * MiB


@pytest.mark.parametrize(("folder", "name"), [("/work", "work"), ("/tmp", "tmp"), ("/dev/shm", "shm")])
async def test_a_folders_size_holds_alone(host: Host, folder: str, name: str) -> None:
    """With the limit on a file's size out of reach; the control has the same box with that folder's size so as well."""
    sizes = dict.fromkeys(("work", "tmp", "shm"), 64 * MiB)
    tight = host.spec(Limits(memory=256 * MiB, **{**sizes, name: 8 * MiB}))
    assert (await run(host, *fill(folder), spec=tight)).stdout == f"{errno.ENOSPC} {8 * MiB}\n"
    wide = host.spec(Limits(memory=256 * MiB, **sizes))
    assert (await run(host, *fill(folder), spec=wide)).stdout == f"0 {32 * MiB}\n"


async def test_sparse_files_have_a_limit(host: Host) -> None:
    """By the limit on a file's size; in a box that has one of two TiB in its place, the file is there."""
    code = "import os\ntry: os.truncate(open('x', 'w').name, 1 << 40)\nexcept OSError as e: print(e.errno)"
    assert (await run(host, "python3", "-c", code)).stdout == f"{errno.EFBIG}\n"
    assert (await run(host, "python3", "-c", code, spec=host.spec(Limits(shm=1 << 41)))).stdout == ""


OPEN_TERMINALS = """
import os
kept = []
try:
    while len(kept) < 100:
        kept.append(os.open("/dev/ptmx", os.O_RDWR | os.O_NOCTTY))
    print(0, len(kept))
except OSError as problem:
    print(problem.errno, len(kept))
"""


async def test_terminals_of_all_boxes_stay_for_all(host: Host) -> None:
    """A box's devpts has a maximum of its own; the control, without it, stops long before the host's are used up."""
    spec = host.spec(Limits())
    attempt = ("python3", "-c", OPEN_TERMINALS)
    assert (await run(host, *attempt, spec=spec)).stdout == f"{errno.ENOSPC} {TERMINALS}\n"
    boundless = without(host, spec, "own maximum of terminals")
    assert (await run(host, *attempt, spec=spec, recipe=boundless)).stdout == "0 100\n"


DEEP = "import os, sys\nos.chdir(sys.argv[1])\nfor n in range(3000):\n  os.mkdir('d')\n  os.chdir('d')\nprint('deep')"


async def test_deep_folders_stay_where_a_folder_is_the_hosts(host: Host) -> None:
    """A tree deeper than any path can name, in a folder of the host's: it outlives its box."""
    spec = replace(host.spec(Limits()), landlock=())
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        folder.chmod(0o777)
        ran = await run(host, "python3", "-c", DEEP, "/shown", spec=spec, recipe=showing(host, spec, folder, "/shown"))
        assert ran.stdout == "deep\n"
        assert (folder / "d").exists()
        depth = 0
        here = os.open(folder, os.O_PATH)
        while True:
            try:
                below = os.open("d", os.O_PATH, dir_fd=here)
            except FileNotFoundError:
                break
            os.close(here)
            here, depth = below, depth + 1
        os.close(here)
        assert depth == 3000
        subprocess.run(["rm", "-rf", folder / "d"], check=True)


async def test_deep_folders_go_with_the_box(host: Host) -> None:
    async with open_box(host, host.spec(Limits())) as box:
        process = await box.start(Launch(("python3", "-c", DEEP, "."), ENV, "pipes"))
        assert (await finish(process))[0] == "deep\n"
        await box.delete("d")
        assert await box.list() == []
