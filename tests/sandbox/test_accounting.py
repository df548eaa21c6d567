"""What a box holds is found wherever it holds it: real programs, real memory (bounded), looked at from outside."""

import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runnerd.sandbox import accounting
from runnerd.sandbox.accounting import CpuClock, Meter, Sample
from runnerd.sandbox.procfs import Stat
from runnerd.sandbox.spec import Limits, MiB
from tests.sandbox.plainbox import PlainBox, plain_box

START = "import mmap, os, resource, socket, sys, time\n"
READY = "\nprint('ready', flush=True)\ntime.sleep(1000)"

HELD = 48 * MiB
"""What each program below takes, at least."""

HOLDERS = {
    "heap": "x = bytearray(b'x') * (48 << 20)",
    "a child's heap": "if os.fork(): os.wait()\nx = bytearray(b'x') * (48 << 20)",
    "a file in /tmp": "open('/tmp/x', 'wb').write(bytes(48 << 20))",
    "a deleted file": "f = open('/work/x', 'wb'); f.write(bytes(48 << 20)); f.flush(); os.unlink('/work/x')",
    "shared memory": "open('/dev/shm/x', 'wb').write(bytes(48 << 20))",
    "inodes": "for i in range(49152): os.close(os.open(f'/tmp/{i}', os.O_CREAT | os.O_WRONLY))",
    "shared anonymous pages": "m = mmap.mmap(-1, 48 << 20); m.write(bytes(48 << 20))",
    "shared anonymous pages, unmapped": (
        "m = mmap.mmap(-1, 48 << 20); m.write(bytes(48 << 20)); m.madvise(mmap.MADV_DONTNEED)"
    ),
    "many small ones, unmapped": (
        "ms = [mmap.mmap(-1, 1 << 20) for _ in range(48)]\n"
        "for m in ms: m.write(bytes(1 << 20)); m.madvise(mmap.MADV_DONTNEED)"
    ),
    "page tables": (
        "m = mmap.mmap(-1, 24 << 30, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | 0x4000)\n"
        "for at in range(0, 24 << 30, 2 << 20): m[at]"
    ),
    "pipes": (
        "resource.setrlimit(resource.RLIMIT_NOFILE, (4096, 4096))\n"
        "for _ in range(800): r, w = os.pipe(); os.write(w, bytes(1 << 16))"
    ),
    "Unix sockets": (
        "resource.setrlimit(resource.RLIMIT_NOFILE, (4096, 4096)); keep = []\n"
        "for _ in range(400):\n"
        "    a, b = socket.socketpair(); a.setblocking(False); keep += [a, b]\n"
        "    while True:\n"
        "        try: a.send(bytes(30000))\n"
        "        except BlockingIOError: break"
    ),
    "Unix sockets whose sender is closed": (
        "resource.setrlimit(resource.RLIMIT_NOFILE, (4096, 4096)); keep = []\n"
        "for _ in range(400):\n"
        "    a, b = socket.socketpair(); a.setblocking(False); keep.append(b)\n"
        "    try:\n"
        "        while True: a.send(bytes(30000))\n"
        "    except BlockingIOError: a.close()"
    ),
    "sockets on their way in another's queue": (
        "import array\n"
        "x, y = socket.socketpair(); keep = [x, y]\n"
        "for _ in range(150):\n"
        "    a, b = socket.socketpair(); a.setblocking(False)\n"
        "    for s in (a, b):\n"
        "        s.setblocking(False)\n"
        "        try:\n"
        "            while True: s.send(bytes(30000))\n"
        "        except BlockingIOError: pass\n"
        "    p, q = socket.socketpair(); keep += [p, q]\n"
        "    socket.send_fds(p, [b'x'], [a.fileno(), b.fileno()]); a.close(); b.close()"
    ),
    "TCP": (
        "l = socket.create_server(('127.0.0.1', 0)); keep = [l]\n"
        "for _ in range(24):\n"
        "    c = socket.create_connection(l.getsockname()); keep += [c, l.accept()[0]]; c.setblocking(False)\n"
        "    try:\n"
        "        while True: c.send(bytes(1 << 20))\n"
        "    except BlockingIOError: pass"
    ),
    "UDP": (
        "keep = []; c = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)\n"
        "resource.setrlimit(resource.RLIMIT_NOFILE, (4096, 4096))\n"
        "for _ in range(300):\n"
        "    s = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM); s.bind(('::1', 0)); keep.append(s)\n"
        "    for _ in range(40): c.sendto(bytes(8000), s.getsockname())"
    ),
    "mappings": (
        "import ctypes; libc = ctypes.CDLL(None); pids = []\n"
        "libc.mmap.restype = ctypes.c_void_p\n"
        "libc.mmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t] + [ctypes.c_int] * 3 + [ctypes.c_long]\n"
        "for i in range(60000): libc.mmap(None, 4096, i % 2, 0x22, -1, 0)\n"
        "for _ in range(4):\n"
        "    if os.fork() == 0: time.sleep(1000)"
    ),
}


async def settle(box: PlainBox, limit: int) -> Sample:
    """Two looks, for what is asked only once something seems wrong."""
    meter = Meter(box.handles, Limits(memory=limit))
    await meter.look()
    return await meter.look()


@pytest.mark.parametrize("name", HOLDERS)
async def test_memory_is_found(name: str) -> None:
    """By a watcher of a limit below what is held; idle holds far less."""
    with plain_box(["python3", "-c", START + HOLDERS[name] + READY]) as box:
        box.read_until(b"ready")
        assert (await settle(box, HELD - 4 * MiB)).memory >= HELD - 4 * MiB


@pytest.mark.parametrize("name", ["shared anonymous pages", "shared anonymous pages, unmapped"])
async def test_an_unprivileged_daemon_finds_shared_pages_by_their_addresses(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    with plain_box(["python3", "-c", START + HOLDERS[name] + READY]) as box:
        box.read_until(b"ready")
        assert (await settle(box, HELD - 4 * MiB)).memory >= HELD - 4 * MiB


FRUGAL = {
    "nothing": "",
    "addresses never touched": "m = mmap.mmap(-1, 64 << 30, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | 0x4000)",
    "a shared mapping never touched": "m = mmap.mmap(-1, 1 << 30)",
    "forks that share their parent's pages": (
        "x = bytearray(b'x') * (10 << 20)\nfor _ in range(8):\n    if os.fork() == 0: break"
    ),
    "processes that map one tmpfs file": (
        "f = open('/tmp/x', 'w+b'); f.truncate(10 << 20)\n"
        "m = mmap.mmap(f.fileno(), 10 << 20); m.write(bytes(10 << 20))\n"
        "for _ in range(8):\n    if os.fork() == 0: sum(m[::4096]); break"
    ),
    "some empty pipes and sockets": "keep = [(os.pipe(), socket.socketpair()) for _ in range(60)]",
    "connections opened and closed": (
        "l = socket.create_server(('127.0.0.1', 0))\n"
        "for _ in range(500):\n"
        "    c = socket.create_connection(l.getsockname()); s, _ = l.accept(); c.send(b'x'); s.close(); c.close()"
    ),
    "a program's file": (
        "f = open('/usr/bin/python3.11', 'rb'); m = mmap.mmap(f.fileno(), 0, prot=mmap.PROT_READ); sum(m[::4096])"
    ),
}


@pytest.mark.parametrize("name", FRUGAL)
async def test_what_is_not_held_is_not_counted(name: str) -> None:
    """By a watcher whose limit is so low that it looks as closely as it can."""
    with plain_box(["python3", "-c", START + FRUGAL[name] + READY]) as box:
        box.read_until(b"ready")
        if "fork" in FRUGAL[name]:
            for _ in range(8):
                box.read_until(b"ready")
        assert (await settle(box, MiB)).memory < HELD


async def test_pages_that_forks_no_longer_share_are_found() -> None:
    """The simple sum does not grow then: each process had as many resident pages before."""
    code = (
        "x = bytearray(b'x') * (24 << 20); r, w = os.pipe()\n"
        "for _ in range(4):\n"
        "    if os.fork() == 0:\n"
        "        os.read(r, 1)\n"
        "        for at in range(0, len(x), 4096): x[at] = 1\n"
        "        break\n"
        "else:\n    print('forked', flush=True); input(); os.write(w, b'xxxx')"
    )
    with plain_box(["python3", "-c", START + code + READY], terminal=True) as box:
        meter = Meter(box.handles, Limits(memory=90 * MiB))
        box.read_until(b"forked")
        assert (await meter.look()).memory < 90 * MiB
        box.type(b"\n")
        for _ in range(5):
            box.read_until(b"ready")
        for _ in range(1000):
            if (await meter.look()).memory > 90 * MiB:
                break
        else:
            pytest.fail("120 MB of pages of their own were not found")


async def test_tasks_and_time_are_counted() -> None:
    code = (
        "import threading\n"
        "for _ in range(5): threading.Thread(target=time.sleep, args=(1000,)).start()\n"
        "while time.process_time() < 0.3: pass"
    )
    with plain_box(["python3", "-c", START + code + READY]) as box:
        box.read_until(b"ready")
        sample = await settle(box, 256 * MiB)
        assert sample.tasks == 1 + 6
        assert 0.29 <= sample.cpu < 30


async def test_a_box_that_is_gone_holds_nothing_and_keeps_its_time() -> None:
    with plain_box(["python3", "-c", START + "while time.process_time() < 0.3: pass" + READY]) as box:
        box.read_until(b"ready")
        meter = Meter(box.handles, Limits())
        before = await meter.look()
        box.end()
        assert await meter.look() == Sample(0, 0, before.cpu)


def test_a_mount_is_counted_once() -> None:
    with plain_box(["python3", "-c", START + READY]) as box:
        box.read_until(b"ready")
        one = accounting.tmpfs([box.handles.tmp])
        assert accounting.tmpfs([box.handles.tmp] * 2) == (one[0] * 2, one[1] * 2)
        assert accounting.distinct([box.handles.tmp, box.handles.work, box.handles.tmp]) == [
            box.handles.tmp,
            box.handles.work,
        ]


def alive(pid: int, cpu: float, reaped: float = 0.0) -> tuple[int, Stat]:
    return pid, Stat("S", 1, 1, 1, 0, -1, 0, cpu, reaped, 1, pid, 0, 0)


def test_time_that_a_parent_waited_for_is_counted_once() -> None:
    clock = CpuClock()
    clock.add(dict([alive(2, 1.0), alive(3, 5.0)]))
    assert clock.add(dict([alive(2, 1.0, reaped=5.2)])) == pytest.approx(6.2)
    assert clock.add(dict([alive(2, 1.0, reaped=5.2)])) == pytest.approx(6.2)


@pytest.mark.parametrize("late", [False, True])
def test_a_look_is_no_single_moment(late: bool) -> None:
    """The parent may have been read before it waited, or the child before it was waited for."""
    clock = CpuClock()
    clock.add(dict([alive(2, 1.0), alive(3, 5.0)]))
    clock.add(dict([alive(2, 1.0)] if late else [alive(2, 1.0, reaped=5.0), alive(3, 5.0)]))
    clock.add(dict([alive(2, 1.0, reaped=5.0)]))
    for _ in range(3):
        assert clock.add(dict([alive(2, 1.0, reaped=5.0)])) <= 11.0
    assert clock.lost == 0


def test_time_of_children_that_nobody_waits_for_adds_up() -> None:
    clock = CpuClock()
    for number in range(10):
        clock.add(dict([alive(2, 0.0), alive(10 + number, 1.0)]))
    assert clock.add(dict([alive(2, 0.0)])) >= 8.0


@given(st.lists(st.dictionaries(st.integers(1, 5), st.tuples(st.floats(0, 9), st.floats(0, 9))), max_size=20))
def test_time_never_falls(looks: list[dict[int, tuple[float, float]]]) -> None:
    clock, before = CpuClock(), 0.0
    for look in looks:
        now = clock.add(dict(alive(pid, *times) for pid, times in look.items()))
        assert now >= before
        before = now
