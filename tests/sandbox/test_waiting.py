"""Real programs on a real terminal: which of them wait for their user."""

import os
import shutil
import struct
import time
from contextlib import ExitStack
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runnerd.sandbox import procfs, waiting
from runnerd.sandbox.waiting import listed, parse_syscall, polled, selected, waits_for_input
from runnerd.toolchains import on_host
from tests.sandbox.plainbox import BINDS, PATIENCE, PlainBox, plain_box

INPUT = "import sys; sys.stdout.write('ready\\n'); sys.stdout.flush(); "
C_SCANF = (
    '#include <stdio.h>\nint main(void){int n;printf("number? ");fflush(stdout);scanf("%d",&n);printf("got %d\\n",n);}'
)
JAVA = (
    'public class M { public static void main(String[] a) { System.out.println("ready");'
    ' System.out.println("got " + new java.util.Scanner(System.in).nextLine()); } }'
)
NODE = (
    "const r = require('readline').createInterface({input: process.stdin, output: process.stdout});"
    "r.question('ready? ', (x) => { console.log('got ' + x); r.close(); })"
)


def becomes_waiting(box: PlainBox) -> bool:
    """Whether it is told before patience ends: a program may still be on its way to its read."""
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        if waits_for_input(box.handles.proc):
            return True
        os.sched_yield()
    return False


def python(code: str) -> list[str]:
    return ["python3", "-c", code]


WAITERS = {
    "read": (python(INPUT + "input()"), b"ready"),
    "input with a prompt": (python("input('ready? ')"), b"ready?"),
    "readv": (python(INPUT + "import os; os.readv(0, [bytearray(9)])"), b"ready"),
    "another descriptor of the terminal": (python(INPUT + "import os; os.read(os.dup2(0, 77), 1)"), b"ready"),
    "/dev/tty": (python(INPUT + "open('/dev/tty').readline()"), b"ready"),
    "poll": (python(INPUT + "import select as s; p = s.poll(); p.register(0, s.POLLIN); p.poll()"), b"ready"),
    "poll with a time-out": (
        python(INPUT + "import select as s; p = s.poll(); p.register(0, s.POLLIN); p.poll(900000)"),
        b"ready",
    ),
    "select": (python(INPUT + "import select; select.select([0], [], [])"), b"ready"),
    "select with a high descriptor": (
        python(INPUT + "import os, select; select.select([os.dup2(0, 700)], [], [])"),
        b"ready",
    ),
    "epoll": (python(INPUT + "import select as s; e = s.epoll(); e.register(0, s.EPOLLIN); e.poll()"), b"ready"),
    "a thread other than the first": (
        python(INPUT + "import threading as t; x = t.Thread(target=input); x.start(); x.join()"),
        b"ready",
    ),
    "asyncio": (
        python(INPUT + "import asyncio as a; l = a.new_event_loop(); l.add_reader(0, print); l.run_forever()"),
        b"ready",
    ),
    "a child": (["sh", "-c", "echo ready; cat; true"], b"ready"),
    "beside one that sleeps": (["sh", "-c", "sleep 1000 & echo ready; read x"], b"ready"),
    "bash": (["bash", "--norc", "-i"], b"$ "),
    "python -i": (["python3", "-i"], b">>> "),
    "less": (["less", "/etc/services"], b"tcpmux"),
    "vim": (["vim", "-u", "NONE", "/etc/services"], b"tcpmux"),
    "top": (["top", "-d", "100"], b"PID"),
    "node's readline": (["/opt/node/bin/node", "-e", NODE], b"ready?"),
}


@pytest.mark.parametrize("name", WAITERS)
def test_waits(name: str) -> None:
    argv, shown = WAITERS[name]
    if shutil.which(on_host(argv[0], BINDS)) is None:
        pytest.skip(f"no {argv[0]} here")
    with plain_box(argv, terminal=True) as box:
        box.read_until(shown)
        assert becomes_waiting(box)


def test_c_scanf_and_its_answer(tmp_path: Path) -> None:
    source = f"cat > m.c <<'E'\n{C_SCANF}\nE\ncc -o m m.c && exec ./m"
    with plain_box(["sh", "-c", source], terminal=True) as box:
        box.read_until(b"number? ")
        assert becomes_waiting(box)
        box.type(b"7\n")
        box.read_until(b"got 7")


def test_java_scanner() -> None:
    if shutil.which("java") is None:
        pytest.skip("no java here")
    with plain_box(["sh", "-c", f"cat > M.java <<'E'\n{JAVA}\nE\nexec java M.java"], terminal=True) as box:
        box.read_until(b"ready")
        assert becomes_waiting(box)
        box.type(b"yes\n")
        box.read_until(b"got yes")


def test_a_poll_that_was_stopped_and_goes_on_still_waits() -> None:
    """The kernel then calls it restart_syscall, and no longer poll."""
    poll = "import select as s; p = s.poll(); p.register(0, s.POLLIN); "
    with plain_box(["bash", "--norc", "-i"], terminal=True) as box:
        box.read_until(b"$ ")
        box.type(b'python3 -c "' + (poll + "print(6*7); p.poll()").encode() + b'"\n')
        box.read_until(b"42")
        assert becomes_waiting(box)
        box.type(b"\x1a")
        box.read_until(b"Stopped")
        box.read_until(b"$ ")
        box.type(b"fg\n")
        box.read_until(b"python3")
        assert becomes_waiting(box)


OTHERS = {
    "computing": python(INPUT + "\nwhile True: pass"),
    "computing in a thread, reading in another": python(
        INPUT + "import threading as t; t.Thread(target=input).start()\nwhile True: pass"
    ),
    "computing behind a foreground reader": ["sh", "-c", "(while :; do :; done) & echo ready; read x"],
    "computing in a pipe": ["sh", "-c", "cat | (echo ready; while :; do :; done)"],
    "sleeping": python(INPUT + "import time; time.sleep(1000)"),
    "a server": python(
        INPUT + "import http.server as h; h.HTTPServer(('127.0.0.1', 8000), h.BaseHTTPRequestHandler).serve_forever()"
    ),
    "an epoll without the terminal": python(INPUT + "import asyncio; asyncio.run(asyncio.sleep(1000))"),
    "an epoll for output only": python(
        INPUT + "import select as s, os; e = s.epoll(); r, w = os.pipe(); e.register(r, s.EPOLLIN); e.poll()"
    ),
    "reading a pipe": python(INPUT + "import os; os.read(os.pipe()[0], 1)"),
    "waiting for a child": ["sh", "-c", "echo ready; sleep 1000; true"],
}


@pytest.mark.parametrize("name", OTHERS)
def test_does_not_wait(name: str) -> None:
    """Looked at while it has long been doing what it does: fifty looks over half a second, none may say so."""
    with plain_box(OTHERS[name], terminal=True) as box:
        box.read_until(b"ready")
        for _ in range(50):
            assert not waits_for_input(box.handles.proc)
            time.sleep(0.01)


LONG = {
    "computing": OTHERS["computing"],
    "sleeping": OTHERS["sleeping"],
    "in accept": python(
        INPUT + "import socket; socket.create_server(('127.0.0.1', 8000)).accept()",
    ),
}


def test_five_seconds_of_silence_are_never_waiting() -> None:
    """All at once, and beside them one that does wait: it is told at every look, so these would be told as well."""
    with ExitStack() as stack:
        boxes = [stack.enter_context(plain_box(argv, terminal=True)) for argv in LONG.values()]
        waiter = stack.enter_context(plain_box(python(INPUT + "input()"), terminal=True))
        for box in (*boxes, waiter):
            box.read_until(b"ready")
        assert becomes_waiting(waiter)
        end = time.monotonic() + 5
        while time.monotonic() < end:
            told = [name for name, box in zip(LONG, boxes, strict=True) if waits_for_input(box.handles.proc)]
            assert told == []
            assert waits_for_input(waiter.handles.proc)
            time.sleep(0.01)
        for box in boxes:  # they have been at it all the time
            assert len(procfs.processes(box.handles.proc)) > 1


def test_a_background_reader_does_not_wait() -> None:
    """It is stopped by SIGTTIN; bash itself is what waits, and no more once a job runs before it."""
    with plain_box(["bash", "--norc", "-i"], terminal=True) as box:
        box.read_until(b"$ ")
        box.type(b"sleep 1000\n")
        box.read_until(b"sleep 1000")
        deadline = time.monotonic() + PATIENCE
        while waits_for_input(box.handles.proc):
            assert time.monotonic() < deadline


def test_without_a_terminal_nothing_waits() -> None:
    with plain_box(python(INPUT + "import os; os.read(os.pipe()[0], 1)")) as box:
        box.read_until(b"ready")
        assert not waits_for_input(box.handles.proc)


def test_a_box_that_is_gone_does_not_wait() -> None:
    with plain_box(["bash", "--norc", "-i"], terminal=True) as box:
        box.read_until(b"$ ")
        box.end()
        assert not waits_for_input(box.handles.proc)


def test_the_call_is_told_from_its_number() -> None:
    read = next(number for number, kind in waiting.CALLS.items() if kind == "read")
    line = f"{read} 0x0 0x7ffe 0x400 0x0 0x0 0x0 0x7ffd 0x7f00\n".encode()
    assert parse_syscall(line) == ("read", [0, 0x7FFE, 0x400, 0, 0, 0])
    for other in (b"running\n", b"-1 0x7ffd 0x7f00\n", b"", line.replace(f"{read} ".encode(), b"100000 ", 1)):
        assert parse_syscall(other) is None


@given(st.lists(st.tuples(st.integers(-(2**31), 2**31 - 1), st.sampled_from([0, 1, 4, 0x41, 0x2000])), max_size=50))
def test_a_poll_set_tells_what_is_asked_for_input(entries: list[tuple[int, int]]) -> None:
    data = b"".join(struct.pack("=ihH", fd, events, 0xFFFF) for fd, events in entries)
    wanted = [fd for fd, events in entries if events & 1 and fd >= 0]
    assert polled(data) == wanted
    assert polled(data + b"\0" * 5) == wanted


@given(st.sets(st.integers(0, 1023)), st.integers(0, 1024))
def test_a_select_set_tells_its_descriptors(fds: set[int], count: int) -> None:
    data = sum(1 << fd for fd in fds).to_bytes(128, "little")
    assert selected(data, count) == sorted(fd for fd in fds if fd < count)


def test_an_epoll_lists_what_is_asked_for_input() -> None:
    text = b"pos:\t0\nflags:\t02\nmnt_id:\t15\n"
    text += b"tfd:        5 events:       19 data:                5  pos:0 ino:61 sdev:5\n"
    text += b"tfd:        7 events: 4000001c data:                7  pos:0 ino:61 sdev:5\n"
    assert listed(text) == [5]
