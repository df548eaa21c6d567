import os
import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runnerd.sandbox import procfs
from tests.sandbox.plainbox import plain_box

START = "import os, time; "
READY = "; print('ready', flush=True); time.sleep(1000)"


def test_exactly_the_boxs_processes_are_listed() -> None:
    with plain_box(["python3", "-c", START + "os.fork()" + READY]) as box:
        box.read_until(b"ready")
        box.read_until(b"ready")
        proc = box.handles.proc
        pids = procfs.processes(proc)
        assert sorted(pids) == [1, 2, 3]
        stats = [procfs.stat(proc, pid) for pid in sorted(pids)]
        assert [stat.ppid for stat in stats if stat] == [0, 1, 2]
        assert procfs.tasks(proc, 3) == [3]
        assert procfs.state(proc, 3, 3) in ("R", "S")
        box.end()
        assert procfs.processes(proc) == []


def test_a_process_that_is_gone_is_nothing() -> None:
    with plain_box(["sleep", "1000"]) as box:
        proc, pid = box.handles.proc, 4999
        assert procfs.stat(proc, pid) is None
        assert procfs.memory(proc, pid) == procfs.proportional(proc, pid) == (0, 0)
        assert procfs.descriptors(proc, pid) == procfs.device(proc, pid, 0) == 0
        assert procfs.tasks(proc, pid) == []
        assert procfs.names(proc, f"{pid}/fd") is None
        assert procfs.state(proc, pid, pid) == procfs.link(proc, f"{pid}/fd/0") == ""
        assert procfs.read_memory(proc, pid, 4096, 8) == procfs.read_whole(proc, f"{pid}/maps", 8) == b""
        assert procfs.read_memory(proc, 1, 0, 8) == procfs.read_memory(proc, 1, 1 << 64, 8) == b""


def test_a_program_is_seen_as_it_is() -> None:
    """This test's own process, by the host's /proc."""
    proc = os.open("/proc", os.O_PATH | os.O_DIRECTORY)
    stop = threading.Event()
    thread = threading.Thread(target=stop.wait)
    thread.start()
    try:
        me = os.getpid()
        stat = procfs.stat(proc, me)
        assert stat is not None
        assert (stat.ppid, stat.pgrp, stat.session) == (os.getppid(), os.getpgrp(), os.getsid(0))
        assert stat.threads == len(procfs.tasks(proc, me)) >= 2
        assert 0 < stat.resident < stat.virtual
        times = os.times()
        assert abs(stat.cpu - times.user - times.system) < 5
        assert procfs.memory(proc, me).private > 0
        assert procfs.proportional(proc, me).private > 0
        before = procfs.descriptors(proc, me)
        more = os.dup(proc)
        assert procfs.descriptors(proc, me) == before + 1
        assert procfs.link(proc, f"{me}/fd/{more}") == "/proc"
        os.close(more)
        assert procfs.link(proc, f"{me}/cwd") == os.getcwd()
        assert len(procfs.read_whole(proc, f"{me}/maps", 6000)) == 6000
    finally:
        stop.set()
        thread.join()
        os.close(proc)


@given(st.binary(max_size=40))
def test_a_name_cannot_forge_the_other_fields(name: bytes) -> None:
    fields = b"S 2 3 4 34816 6 0 7 0 8 0 100 200 300 400 20 0 9 0 55 4096 2 18446744073709551615"
    stat = procfs.parse_stat(b"1234 (" + name + b") " + fields)
    assert stat[:7] == ("S", 2, 3, 4, os.makedev(136, 0), 6, 15)
    assert stat[10:] == (55, 4096, 2 * procfs.PAGE)
    assert (stat.cpu, stat.reaped, stat.threads) == (pytest.approx(3.0), pytest.approx(7.0), 9)


@given(st.integers(0, 4095), st.integers(0, 2**20 - 1))
def test_a_terminal_is_the_device_that_stat_tells(major: int, minor: int) -> None:
    encoded = minor & 0xFF | major << 8 | (minor & ~0xFF) << 12
    encoded -= (encoded & 2**31) << 1  # the kernel prints it as an int
    stat = procfs.parse_stat(b"1 (x) S 2 3 4 %d 6 0 7 0 8 0 1 2 3 4 20 0 9 0 55 4096 2" % encoded)
    assert stat.tty == (os.makedev(major, minor) if encoded else 0)


def test_lines_are_told_in_bytes() -> None:
    text = b"Name:\tx\nRssAnon:\t     12 kB\nVmPTE:\t       4 kB\n"
    assert procfs.parse_kib(text, (b"RssAnon", b"VmSwap")) == {b"RssAnon": 12 * 1024, b"VmSwap": 0}
