"""What the CPU clocks of processes tell about them."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path

from runnerd.sandbox.stillness import Clocks

PATIENCE = 20.0

THREADS = """
import subprocess, sys, threading
def second():
    if sys.argv[1] == "child":
        child = subprocess.Popen(["cat"], stdin=subprocess.PIPE, pass_fds=[])
    print("up", flush=True)
    while sys.stdin.readline():
        print("ran", flush=True)
thread = threading.Thread(target=second)
thread.start()
thread.join()
"""


@contextmanager
def program(*argv: str) -> Generator[subprocess.Popen[bytes]]:
    with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        try:
            yield process
        finally:
            process.kill()


def line(process: subprocess.Popen[bytes], text: bytes = b"") -> bytes:
    assert process.stdin is not None
    assert process.stdout is not None
    if text:
        process.stdin.write(text)
        process.stdin.flush()
    return process.stdout.readline()


def until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline


def still(pid: int, count: int) -> Clocks:
    """Its clocks, once it has come to rest with so many processes."""
    clocks = Clocks(pid)

    def rests() -> bool:
        nonlocal clocks
        clocks = Clocks(pid)
        time.sleep(0.02)
        return clocks.stand() and len(clocks) == count

    until(rests)
    return clocks


def test_a_family_that_sleeps_stands_still_until_one_of_it_runs() -> None:
    with program("sh", "-c", "cat; sleep 1000 & sleep 1000") as process:
        clocks = still(process.pid, 2)
        assert line(process, b"text\n") == b"text\n"
        until(lambda: not clocks.stand())
        process.stdin.close()  # pyright: ignore[reportOptionalMemberAccess]
        clocks = still(process.pid, 3)
        children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
        os.kill(int(children[0]), signal.SIGKILL)
        until(lambda: not clocks.stand())


def test_a_second_thread_counts() -> None:
    with program(sys.executable, "-c", THREADS, "none") as process:
        assert line(process) == b"up\n"
        clocks = still(process.pid, 1)
        assert line(process, b"go\n") == b"ran\n"
        until(lambda: not clocks.stand())


def test_a_child_of_a_second_thread_is_not_found() -> None:
    """So that whoever counts processes otherwise sees that one is missing."""
    with program(sys.executable, "-c", THREADS, "child") as process:
        assert line(process) == b"up\n"
        still(process.pid, 1)


def test_of_what_is_gone_there_are_none() -> None:
    with program("true") as process:
        process.wait()
        assert len(Clocks(process.pid)) == 0
