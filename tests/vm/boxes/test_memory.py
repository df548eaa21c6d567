"""Every way to take memory is counted by the kernel, and the box that takes too much says so."""

import pytest
import trio

from runnerd.sandbox.box import Box, open_box
from runnerd.sandbox.cgroup import Tree
from runnerd.sandbox.host import Host
from runnerd.sandbox.leaf import OWN_MEMORY, OWN_TASKS
from runnerd.sandbox.spec import Launch, Limits, MiB, Outcome
from tests.sandbox.running import ENV, finish

from .conftest import leaves

pytestmark = pytest.mark.vm

LIMIT = 40 * MiB

ATTACKS = {
    "heap": "data = []\nwhile True: data.append(bytearray(1 << 20))",
    "forks": "import os\nfor _ in range(3): os.fork()\ndata = []\nwhile True: data.append(bytearray(1 << 20))",
    "tmpfs": (
        "import itertools\nfor n in itertools.count():\n  for folder in ('/work', '/tmp', '/dev/shm'):\n"
        "    try: open(f'{folder}/{n}', 'wb').write(b'x' * (1 << 20))\n    except OSError: pass"
    ),
    "memfd": "import os\nfile = os.memfd_create('x')\nwhile True: os.write(file, b'x' * (1 << 20))",
    "memfds in a socket's queue": (
        "import os, socket\na, b = socket.socketpair()\nwhile True:\n  file = os.memfd_create('x')\n"
        "  os.write(file, b'x' * (1 << 20))\n  socket.send_fds(a, [b'x'], [file])\n  os.close(file)"
    ),
    "System V segments": (
        "import ctypes\nlibc = ctypes.CDLL(None)\nlibc.shmat.restype = ctypes.c_void_p\n"
        "libc.shmdt.argtypes = [ctypes.c_void_p]\nwhile True:\n"
        "  segment = libc.shmget(0, 8 << 20, 0o600)\n  assert segment >= 0\n  place = libc.shmat(segment, None, 0)\n"
        "  ctypes.memset(place, 1, 8 << 20)\n  libc.shmdt(place)"
    ),
    "large pipes": (
        "import fcntl, os\nkept = []\nwhile True:\n  r, w = os.pipe()\n  kept += [r, w]\n"
        "  try: fcntl.fcntl(w, 1031, 1 << 20)\n  except OSError: pass\n  os.set_blocking(w, False)\n"
        "  try:\n    while True: os.write(w, b'x' * 4096)\n  except BlockingIOError: pass"
    ),
    "socket buffers": (
        "import socket\nkept = []\nwhile True:\n  a, b = socket.socketpair()\n  a.setblocking(False)\n"
        "  kept += [a, b]\n  try:\n    while True: a.send(b'x' * 65536)\n  except BlockingIOError: pass"
    ),
    "inodes": (
        "import itertools, os\nfor n in itertools.count():\n  if n % 1000 == 0: os.mkdir(f'/tmp/{n // 1000}')\n"
        "  os.close(os.open(f'/tmp/{n // 1000}/{n}', os.O_CREAT))"
    ),
}


async def attack(host: Host, code: str, limits: Limits) -> tuple[Box, str]:
    with trio.fail_after(100):
        async with open_box(host, host.spec(limits)) as box:
            process = await box.start(Launch(("python3", "-c", code), ENV, "pipes"))
            stdout, stderr = await finish(process)
        return box, stdout + stderr


@pytest.mark.parametrize("name", ATTACKS)
async def test_memory(host: Host, tree: Tree, name: str) -> None:
    roomy = {"work": 200 * MiB, "tmp": 200 * MiB, "shm": 100 * MiB, "files": 4096}
    box, said = await attack(host, ATTACKS[name], Limits(memory=LIMIT, processes=16, cpu=80, **roomy))
    assert box.exceeded is Outcome.MEMORY, (said, box.failure)
    assert LIMIT * 0.9 < box.used().peak <= LIMIT + OWN_MEMORY
    assert leaves(tree) == []


async def test_without_the_limit(host: Host) -> None:
    """The control: the same allocation goes through where there is room."""
    code = "data = [bytearray(1 << 20) for _ in range(60)]; print(len(data))"
    box, said = await attack(host, code, Limits(memory=120 * MiB))
    assert (box.exceeded, said) == (None, "60\n")
    assert box.used().peak > 60 * MiB
    assert (await attack(host, code, Limits(memory=LIMIT)))[0].exceeded is Outcome.MEMORY


async def test_files_that_init_writes_are_the_boxs(host: Host) -> None:
    """And not the daemon's, though it sends them."""
    async with open_box(host, host.spec(Limits(memory=100 * MiB))) as box:
        await box.start(Launch(("sleep", "100"), ENV, "pipes"))
        before = box.used().peak
        await box.write("big", b"x" * (30 * MiB))
        assert box.used().peak - before > 29 * MiB


async def test_the_ceiling_of_all_boxes(host: Host, tree: Tree) -> None:
    """A box within its own limit that goes because all together have too much is not told that it used too much."""
    ceiling = {name: (tree.boxes / name).read_text() for name in ("memory.high", "memory.max")}
    try:
        (tree.boxes / "memory.high").write_text("max")
        (tree.boxes / "memory.max").write_text(str(50 * MiB))
        box, _ = await attack(host, ATTACKS["heap"], Limits(memory=200 * MiB))
    finally:
        for name in reversed(ceiling):
            (tree.boxes / name).write_text(ceiling[name])
    assert box.exceeded is None
    assert "all boxes together" in str(box.failure)


async def test_a_box_is_in_its_leaf_from_the_start(host: Host, tree: Tree) -> None:
    async with open_box(host, host.spec(Limits())) as box:
        await box.start(Launch(("sleep", "100"), ENV, "pipes"))
        [leaf] = leaves(tree)
        pids = (leaf / "cgroup.procs").read_text().split()
        assert len(pids) == OWN_TASKS + 1 == box.used().tasks
        assert box.handles is not None
        assert str(box.handles.init) in pids
    assert leaves(tree) == []
    assert (tree.daemon.parent / "cgroup.procs").read_text() == ""


async def test_a_box_sees_nothing_of_its_cgroup(host: Host) -> None:
    async with open_box(host, host.spec(Limits())) as box:
        look = "cat /proc/self/cgroup; ls -d /sys 2>/dev/null; grep -c cgroup /proc/self/mountinfo"
        stdout, _ = await finish(await box.start(Launch(("sh", "-c", look), ENV, "pipes")))
    assert stdout == "0::/\n0\n"
