import mmap
import os
from pathlib import Path

import pytest

from runnerd.sandbox import hidden, procfs
from runnerd.sandbox.spec import MiB
from tests.sandbox.plainbox import plain_box

MAPS = b"""55d0-55d8 r--p 00000000 fe:01 123                       /usr/bin/x
7f0000000000-7f0000400000 rw-s 00000000 00:01 77                        /dev/zero (deleted)
7f0000500000-7f0000600000 rw-s 00100000 00:01 78                        /dev/zero (deleted)
7f0000700000-7f0000800000 rw-s 00000000 00:22 9                         /tmp/x/dev/zero (deleted)
7ffd0000-7ffe0000 rw-p 00000000 00:00 0                          [stack]
"""


def test_shared_anonymous_mappings_are_told_from_files_with_such_a_name() -> None:
    assert hidden.zero_mappings(MAPS) == [
        (77, "7f0000000000-7f0000400000", 4 * MiB),
        (78, "7f0000500000-7f0000600000", MiB),
    ]


def test_the_kernel_writes_them_so() -> None:
    with mmap.mmap(-1, 3 * MiB):
        sizes = [size for _, _, size in hidden.zero_mappings(Path("/proc/self/maps").read_bytes())]
    assert 3 * MiB in sizes


def test_a_few_pipes_are_free_and_very_many_are_small() -> None:
    assert hidden.pipe_bytes(hidden.PIPES_FREE) == 0
    assert hidden.pipe_bytes(hidden.PIPES_FREE + 10) == 10 * 65536
    assert hidden.pipe_bytes(hidden.PIPES_FREE + 1034) == 1024 * 65536 + 10 * 8192


def test_a_pipe_counts_once_whoever_has_it() -> None:
    code = (
        "import os, time; keep = [os.pipe() for _ in range(40)]\n"
        "for _ in range(3): os.fork()\nprint('ready', flush=True); time.sleep(1000)"
    )
    with plain_box(["python3", "-c", code]) as box:
        for _ in range(8):
            box.read_until(b"ready")
        proc = box.handles.proc
        stdout = 1
        assert hidden.pipes(proc, procfs.processes(proc)) == hidden.pipe_bytes(40 + stdout)


def no_names(proc: int, path: str) -> None:
    """As for a process that is not dumpable, where the daemon is not root."""


def test_a_process_whose_descriptors_are_closed_to_us_counts_by_their_number(monkeypatch: pytest.MonkeyPatch) -> None:
    code = "import os, time; keep = [os.dup(0) for _ in range(50)]; print('ready', flush=True); time.sleep(1000)"
    with plain_box(["python3", "-c", code]) as box:
        box.read_until(b"ready")
        proc = box.handles.proc
        closed = procfs.descriptors(proc, 2)
        monkeypatch.setattr(procfs, "names", no_names)
        assert hidden.pipes(proc, [2]) == hidden.pipe_bytes(closed) > 0


def test_mappings_are_listed_when_they_could_hide_something() -> None:
    code = "import mmap, os, time; m = mmap.mmap(-1, 64 << 20); m[0] = 1; print('ready', flush=True); time.sleep(1000)"
    with plain_box(["python3", "-c", code]) as box:
        box.read_until(b"ready")
        proc = box.handles.proc
        stats = {pid: stat for pid in procfs.processes(proc) if (stat := procfs.stat(proc, pid))}
        mappings = hidden.Mappings(proc, root=False)
        assert not mappings.due(stats, 1 << 40)
        assert mappings.due(stats, MiB)
        assert mappings.zero() == 0
        mappings.list_all(stats)
        assert mappings.zero() == 64 * MiB
        assert not mappings.due({pid: stat for pid, stat in stats.items() if pid == 1}, 1 << 40)
        if os.geteuid() == 0:
            exact = hidden.Mappings(proc, root=True)
            exact.list_all(stats)
            assert exact.zero() == procfs.PAGE
