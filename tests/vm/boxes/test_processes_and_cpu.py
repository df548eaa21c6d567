"""Processes, CPU time and cores, and what is told of them."""

import os
import subprocess
from pathlib import Path

import pytest
import trio

from runnerd import toolchains
from runnerd.config import Config
from runnerd.sandbox import cgroupfs
from runnerd.sandbox.box import open_box
from runnerd.sandbox.cgroup import Tree
from runnerd.sandbox.host import Host
from runnerd.sandbox.leaf import OWN_TASKS, START_CPU
from runnerd.sandbox.pressure import Pressure, sources
from runnerd.sandbox.spec import Launch, Limits, Outcome
from runnerd.session.registry import Registry
from runnerd.session.run import Run
from runnerd.session.viewer import Ended, Output
from tests.sandbox.running import ENV, finish, read_all

from .conftest import leaves

pytestmark = pytest.mark.vm

BURN = "while True: pass"
COUNT = """
import os, sys, time
children = 0
while True:
    try:
        pid = os.fork()
    except OSError as problem:
        print(children, problem.errno, flush=True)
        sys.exit(int(sys.argv[1]))
    if pid == 0:
        time.sleep(1000)
    children += 1
"""
EAGAIN = 11


def statistics(leaf: Path) -> dict[str, int]:
    return cgroupfs.keyed((leaf / "cpu.stat").read_text())


async def ended(host: Host, code: str, profile: str, *args: str) -> tuple[Ended, str]:
    """Run python code as a client's run, and tell how it ended and what it wrote."""
    output = b""
    with trio.fail_after(100):
        async with trio.open_nursery() as nursery:
            registry = Registry(host, toolchains.load(), Config(), nursery)
            run = Run("python", {"": code.encode()}, args=args, mode="pipes")
            viewer = (await registry.start(run, profile=profile)).viewer()
            while not isinstance(event := await viewer.next(), Ended):
                if isinstance(event, Output):
                    output += event.data
    return event, output.decode()


async def test_fork_is_refused_at_the_limit_and_the_program_goes_on(host: Host) -> None:
    event, output = await ended(host, COUNT, "session", "0")
    assert output == f"{32 - 1} {EAGAIN}\n"
    assert (event.outcome, event.code, event.message) == (Outcome.EXITED, 0, "")


async def test_a_run_that_fails_then_says_why(host: Host) -> None:
    event, _ = await ended(host, COUNT, "session", "7")
    assert (event.outcome, event.code) == (Outcome.EXITED, 7)
    assert "more than 32 processes" in event.message


async def test_a_widget_that_meets_its_limit_ends(host: Host, tree: Tree) -> None:
    event, _ = await ended(host, COUNT + "\n", "widget", "0")
    assert (event.outcome, event.message) == (Outcome.PROCESSES, "the program started more than 32 processes")
    bomb = "import os\nwhile True:\n  try: os.fork()\n  except OSError: pass"
    assert (await ended(host, bomb, "widget"))[0].outcome is Outcome.PROCESSES
    assert leaves(tree) == []


async def test_a_widget_within_its_limit_does_not(host: Host) -> None:
    code = "import os, time\nfor _ in range(31): os.fork() or time.sleep(100)\nprint('done', flush=True)\nos._exit(0)"
    event, output = await ended(host, code, "widget")
    assert (event.outcome, output) == (Outcome.EXITED, "done\n")


async def test_what_all_boxes_together_may_have_is_no_boxs_own_limit(host: Host, tree: Tree) -> None:
    """Linux before 6.11 counts a fork that is refused for the ceiling as refused by the leaf."""
    most = tree.boxes / "pids.max"
    before = most.read_text()
    try:
        most.write_text("20")
        event, output = await ended(host, COUNT, "widget", "7")
    finally:
        most.write_text(before)
    assert (event.outcome, event.code, event.message) == (Outcome.EXITED, 7, "")
    assert output.endswith(f" {EAGAIN}\n")


async def test_memory_is_told_to_the_client(host: Host) -> None:
    event, _ = await ended(host, "data = []\nwhile True: data.append(bytearray(1 << 20))", "widget")
    assert event.outcome is Outcome.MEMORY
    assert event.usage.memory > 120 << 20


async def test_threads_count(host: Host) -> None:
    code = (
        "import threading, time\nn = 1\ntry:\n  while True:\n"
        "    threading.Thread(target=time.sleep, args=(1000,), daemon=True).start(); n += 1\n"
        "except RuntimeError: print(n, flush=True)\nimport os; os._exit(0)"
    )
    assert (await ended(host, code, "session"))[1] == "32\n"


@pytest.mark.parametrize("code", [BURN, f"import os\nfor _ in range(3): os.fork()\n{BURN}"], ids=["one", "forks"])
async def test_cpu_time_of_all_processes_together(host: Host, tree: Tree, code: str) -> None:
    with trio.fail_after(100):
        async with open_box(host, host.spec(Limits(cpu=2.0, cpus=8))) as box:
            process = await box.start(Launch(("python3", "-c", code), ENV, "pipes"))
            await process.exited.wait()
            await box.ended.wait()
            assert box.exceeded is Outcome.CPU
            process.close()
    assert 2.0 < box.used().cpu < 2.0 + 0.5 * (os.cpu_count() or 1)
    assert leaves(tree) == []


async def test_cores(host: Host, tree: Tree) -> None:
    """Full speed while the start's allowance lasts, then 0.2 cores, as the kernel counts over the box's own periods."""
    async with open_box(host, host.spec(Limits(cpus=0.2, cpu=1000))) as box:
        process = await box.start(Launch(("python3", "-c", BURN), ENV, "pipes"))
        [leaf] = leaves(tree)
        assert (leaf / "cpu.max").read_text() == "max 100000\n"
        with trio.fail_after(60):
            while (leaf / "cpu.max").read_text() != "20000 100000\n":
                await trio.sleep(0.01)
        assert box.used().cpu >= START_CPU
        first = statistics(leaf)
        await trio.sleep(5)
        last = statistics(leaf)
        periods, throttled, used = (last[name] - first[name] for name in ("nr_periods", "nr_throttled", "usage_usec"))
        assert periods >= 20
        assert throttled >= periods * 0.8
        assert used / (periods * cgroupfs.PERIOD) == pytest.approx(0.2, rel=0.1)
        process.close()


async def test_more_cores_than_there_are_is_no_limit(host: Host, tree: Tree) -> None:
    """The control of the test above: the same program uses a whole core."""
    async with open_box(host, host.spec(Limits(cpus=64, cpu=1000))) as box:
        process = await box.start(Launch(("python3", "-c", BURN), ENV, "pipes"))
        [leaf] = leaves(tree)
        while box.used().cpu < START_CPU + 1:
            await trio.sleep(0.05)
        assert (leaf / "cpu.max").read_text() == "max 100000\n"
        assert statistics(leaf)["nr_throttled"] == 0
        process.close()


async def test_a_box_at_its_own_limit_is_no_pressure(host: Host, tree: Tree) -> None:
    """The host's figure says the opposite, which is why it is not asked."""
    pressed = Pressure(sources(tree, memory=10, cpu=25))
    async with open_box(host, host.spec(Limits(cpus=0.1, cpu=1000))) as box:
        process = await box.start(Launch(("python3", "-c", BURN), ENV, "pipes"))
        with trio.fail_after(100):
            while cgroupfs.stalled(Path("/proc/pressure/cpu").read_text()) < 40:
                await trio.sleep(0.5)
        assert pressed() == ""
        process.close()


async def test_a_daemon_that_waits_for_a_cpu_is_under_pressure(tree: Tree) -> None:
    """By programs of its own leaf, which share its part of the machine; it falls once they are gone."""
    pressed = Pressure(sources(tree, memory=10, cpu=25))
    burners = [subprocess.Popen(["python3", "-c", BURN]) for _ in range(4 * (os.cpu_count() or 1))]
    try:
        with trio.fail_after(60):
            while "CPU time" not in pressed():
                await trio.sleep(0.5)
    finally:
        for burner in burners:
            burner.kill()
            burner.wait()
    with trio.fail_after(60):
        while pressed():
            await trio.sleep(0.5)


async def test_disk_reads_are_held(host: Host, tree: Tree) -> None:
    """A megabyte per second, of a file that is not in the page cache; and at once without the limit."""
    file = max(Path("/usr/lib").rglob("*.so*"), key=lambda path: path.stat().st_size if path.is_file() else 0)
    code = (
        f"import os, time\nfile = os.open('{file}', os.O_RDONLY)\n"
        "os.posix_fadvise(file, 0, 0, os.POSIX_FADV_DONTNEED)\n"
        "os.posix_fadvise(file, 0, 0, os.POSIX_FADV_RANDOM)\nbegan = time.monotonic()\n"
        "for at in range(0, 4 << 20, 65536): os.pread(file, 65536, at)\nprint(time.monotonic() - began)"
    )
    took: list[float] = []
    for rate in (1 << 20, 0):
        async with open_box(host, host.spec(Limits(io=rate))) as box:
            stdout, stderr = await finish(await box.start(Launch(("python3", "-c", code), ENV, "pipes")))
            assert not stderr
            took.append(float(stdout))
    assert took[0] > 2 > took[1] * 2


BOMBS = {
    "forks": ("import os\nwhile True:\n  try: os.fork()\n  except OSError: pass", "default"),
    "memory": ("data = []\nwhile True: data.append(bytearray(1 << 20))", "widget"),
    "cpu": (BURN, "default"),
}


async def test_bombs_leave_another_session_answering(host: Host, tree: Tree) -> None:
    """All three at once, again and again; a line typed into another box comes back, and our own memory stays."""

    async def bomb(code: str, profile: str) -> None:
        while True:
            await registry.start(Run("python", {"": code.encode()}, mode="pipes"), profile=profile)
            await registry_has_room(registry)

    async def answer() -> float:
        began = trio.current_time()
        os.write(process.stdin, b"x\n")
        with trio.fail_after(30):
            await trio.lowlevel.wait_readable(process.outputs[0][1])
            assert os.read(process.outputs[0][1], 100)
        took = trio.current_time() - began
        await trio.sleep(0.1)
        return took

    async with open_box(host, host.spec(Limits())) as box:
        process = await box.start(Launch(("cat",), ENV, "pipes"))
        quiet = sorted([await answer() for _ in range(40)])
        before = memory(tree.daemon)
        async with trio.open_nursery() as nursery:
            registry = Registry(host, toolchains.load(), Config(), nursery)
            for code, profile in BOMBS.values():
                nursery.start_soon(bomb, code, profile)
            while not registry.status().ended["memory"]:
                await trio.sleep(0.05)
            began, used = trio.current_time(), statistics(tree.boxes)["usage_usec"]
            busy = sorted([await answer() for _ in range(40)])
            used = statistics(tree.boxes)["usage_usec"] - used
            assert used / 1e6 > trio.current_time() - began  # the bombs are busy: more than one core
            assert memory(tree.daemon) - before < 32 << 20
            nursery.cancel_scope.cancel()
        print(f"quiet {shown(quiet)}, under bombs {shown(busy)}")
        assert busy[20] < max(0.5, 10 * quiet[20])
        process.close()
    assert leaves(tree) == []


def shown(times: list[float]) -> str:
    return f"p50 {times[len(times) // 2] * 1000:.1f} ms, most {times[-1] * 1000:.1f} ms"


async def registry_has_room(registry: Registry) -> None:
    while registry.status().boxes >= 3:
        await trio.sleep(0.05)


def memory(leaf: Path) -> int:
    return int((leaf / "memory.current").read_text())


async def test_everything_is_gone_afterwards(host: Host, tree: Tree) -> None:
    """Double forks, new sessions and stopped processes do not help."""
    script = "trap '' TERM HUP INT; (setsid bash -c 'echo up; sleep 1000' &) ; kill -STOP $$"
    async with open_box(host, host.spec(Limits())) as box:
        process = await box.start(Launch(("bash", "-c", script), ENV, "pipes"))
        await trio.lowlevel.wait_readable(process.outputs[0][1])
        [leaf] = leaves(tree)
        pids = (leaf / "cgroup.procs").read_text().split()
        assert len(pids) >= OWN_TASKS + 2
        box.kill()
        assert await read_all(process.outputs[0][1]) == b"up\n"
        process.close()
    assert leaves(tree) == []
    assert not [pid for pid in pids if Path(f"/proc/{pid}/cmdline").exists() and command(pid)]


def command(pid: str) -> bytes:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return b""
