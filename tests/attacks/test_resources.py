"""Attempts to use up the host. A test says what contained each, and what the host lost.

The control of what holds the boxes (the watcher, or with RUNNERD_TEST_LIMITS=cgroup the kernel) is the same box with
its limit out of reach: there the attack goes on.
"""

import errno
from dataclasses import replace
from pathlib import Path

import pytest
import trio

from runnerd.sandbox import seccomp
from runnerd.sandbox.box import open_box
from runnerd.sandbox.host import Host
from runnerd.sandbox.spec import Launch, Limits, Outcome
from tests.sandbox.running import ENV, finish, run

pytestmark = pytest.mark.attack

MiB = 1024 * 1024
LIMIT = 160 * MiB
PATIENCE = 100.0
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
        "import itertools, os\nfor n in itertools.count():\n  os.makedirs(f'/tmp/{n // 1000}', exist_ok=True)\n"
        "  open(f'/tmp/{n // 1000}/{n}', 'w').close()"
    ),
}


TRIES = 3
"""MemAvailable is the whole host's: another program may take some at the same time."""

SMALLER = {"pipes": 60 * MiB, "inodes": 60 * MiB}
"""A uid's pipes hold 64 MiB before the kernel makes them small: too little to break the others' limit. Inodes are made
one by one: filling more of them takes an emulated machine longer than the time that a box has."""


@pytest.mark.parametrize("name", MEMORY)
async def test_memory(host: Host, name: str) -> None:
    limit = SMALLER.get(name, LIMIT)
    limits = Limits(memory=limit, processes=64, cpu=PATIENCE, work=200 * MiB, tmp=200 * MiB, shm=64 * MiB, files=4096)
    losses: list[int] = []
    while not losses or (losses[-1] >= 2 * limit and len(losses) < TRIES):
        outcome, lost, said = await worst_loss(host, MEMORY[name], limits)
        assert outcome is Outcome.MEMORY, said
        losses.append(lost)
    assert min(losses) < 2 * limit, losses


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
    "fork": "import os\nwhile True:\n  try: os.fork()\n  except OSError: pass",
    "setsid and double fork": (
        "import os\nwhile True:\n  try:\n    if os.fork() == 0:\n      os.setsid()\n      if os.fork(): os._exit(0)\n"
        "  except OSError: pass"
    ),
    "threads": (
        "import threading, time\nwhile True:\n  try: threading.Thread(target=time.sleep, args=(100,)).start()\n"
        "  except RuntimeError: pass"
    ),
}


@pytest.mark.parametrize("name", FORKS)
async def test_bombs_do_not_spread(host: Host, name: str) -> None:
    """They meet EAGAIN at the limit and burn their own time; the end takes every one of them."""
    limits = Limits(processes=40, cpu=1.0)
    most = 0
    with trio.fail_after(30):
        async with open_box(host, host.spec(limits)) as box:
            await box.start(Launch(("python3", "-c", FORKS[name]), ENV, "pipes"))
            await box.alive()
            assert box.handles is not None
            tasks = Path(f"/proc/{box.handles.init}/task")
            assert tasks.exists()
            while not box.ended.is_set():
                most = max(most, box.used().tasks)
                await trio.sleep(0.01)
            assert box.exceeded in (Outcome.CPU, Outcome.PROCESSES)
            assert most <= 40 + 8
    assert not tasks.exists()


@pytest.mark.parametrize("folder", ["/work", "/tmp", "/dev/shm"])
async def test_folders_are_full_at_their_size(host: Host, folder: str) -> None:
    code = (
        f"import os\nfile = open('{folder}/big', 'wb', buffering=0)\nwritten = 0\n"
        "try:\n  while True: written += file.write(b'x' * 65536)\n"
        "except OSError as e: print(e.errno, written)"
    )
    limits = Limits(memory=256 * MiB, work=8 * MiB, tmp=8 * MiB, shm=8 * MiB)
    number, written = (await run(host, "python3", "-c", code, spec=host.spec(limits))).stdout.split()
    assert int(number) in (errno.ENOSPC, errno.EFBIG)
    assert int(written) <= 8 * MiB


async def test_sparse_files_have_a_limit(host: Host) -> None:
    code = "import os\ntry: os.truncate(open('x', 'w').name, 1 << 40)\nexcept OSError as e: print(e.errno)"
    assert (await run(host, "python3", "-c", code)).stdout == f"{errno.EFBIG}\n"


async def test_deep_folders_go_with_the_box(host: Host) -> None:
    code = "import os\nfor n in range(3000):\n  os.mkdir('d')\n  os.chdir('d')\nprint('deep')"
    async with open_box(host, host.spec(Limits())) as box:
        process = await box.start(Launch(("python3", "-c", code), ENV, "pipes"))
        assert (await finish(process))[0] == "deep\n"
        await box.delete("d")
        assert await box.list() == []
