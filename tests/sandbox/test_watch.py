"""The watcher ends what is over a limit, and nothing else."""

import pytest
import trio
import trio.testing
from hypothesis import given
from hypothesis import strategies as st

from runnerd.sandbox.spec import Limits, MiB, Outcome
from runnerd.sandbox.stillness import Clocks
from runnerd.sandbox.watch import HASTE, Sample, broken, pause, watch
from tests.sandbox.plainbox import PATIENCE, plain_box

LIMITS = Limits(memory=64 * MiB, processes=8, cpu=0.5)

BURN = """import os, signal
def burn():
    while time.process_time() < 0.2: pass
    os._exit(0)
"""
HOGS = {
    "heap": ("x = []\nfor _ in range(300): x.append(bytearray(b'x') * (1 << 20))", Outcome.MEMORY),
    "heaps of children": (
        "import os\nfor _ in range(6): os.fork() or exec('x = bytearray(b\"x\") * (25 << 20); wait()')",
        Outcome.MEMORY,
    ),
    "a file": ("f = open('/tmp/x', 'wb')\nfor _ in range(200): f.write(bytes(1 << 20))", Outcome.MEMORY),
    "threads": ("import threading\nfor _ in range(40): threading.Thread(target=wait).start()", Outcome.PROCESSES),
    "processes": ("import os\nfor _ in range(40): os.fork() or wait()", Outcome.PROCESSES),
    "computing": ("while True: pass", Outcome.CPU),
    "computing children": (BURN + "while True:\n    os.fork() or burn()\n    os.wait()", Outcome.CPU),
    "computing children that nobody waits for": (
        BURN + "signal.signal(signal.SIGCHLD, signal.SIG_IGN)\nwhile True:\n    os.fork() or burn()\n"
        "    try: os.wait()\n    except ChildProcessError: pass",
        Outcome.CPU,
    ),
}


@pytest.mark.parametrize("name", HOGS)
async def test_what_is_over_a_limit_is_told(name: str) -> None:
    code, outcome = HOGS[name]
    samples: list[Sample] = []
    with plain_box(["python3", "-c", f"import time\nwait = lambda: time.sleep(1000)\n{code}\nwait()"]) as box:
        with trio.fail_after(PATIENCE):
            assert await watch(box.handles, LIMITS, samples.append) is outcome
    assert broken(samples[-1], LIMITS) is outcome
    assert not any(broken(sample, LIMITS) for sample in samples[:-1])


async def test_a_modest_box_and_one_that_is_gone_are_left_alone() -> None:
    samples: list[Sample] = []
    several, gone = trio.Event(), trio.Event()

    def report(sample: Sample) -> None:
        samples.append(sample)
        if len(samples) == 5:
            several.set()
        if sample.tasks == 0:
            gone.set()

    code = "import time; x = bytearray(b'x') * (20 << 20); print('ready', flush=True); time.sleep(1000)"
    with plain_box(["python3", "-c", code]) as box:
        box.read_until(b"ready")
        async with trio.open_nursery() as nursery:
            nursery.start_soon(watch, box.handles, LIMITS, report)
            with trio.fail_after(PATIENCE):
                await several.wait()
                box.end()
                await gone.wait()
            nursery.cancel_scope.cancel()
    assert not any(broken(sample, LIMITS) for sample in samples)


async def test_a_box_that_was_only_glanced_at_is_ended_all_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    """While nothing runs in it nothing is counted; once something does, it is."""
    glances = 0
    samples: list[Sample] = []
    glanced = trio.Event()

    class Counted(Clocks):
        def stand(self) -> bool:
            nonlocal glances
            still = super().stand()
            glances = glances + 1 if still else 0
            if glances == 3:
                glanced.set()
            return still

    monkeypatch.setattr("runnerd.sandbox.watch.Clocks", Counted)
    code = "input(); x = bytearray(b'x') * (300 << 20); input()"
    with plain_box(["python3", "-c", code], terminal=True) as box:

        async def type_once_it_is_quiet() -> None:
            await glanced.wait()
            box.type(b"\n")

        async with trio.open_nursery() as nursery:
            nursery.start_soon(type_once_it_is_quiet)
            with trio.fail_after(PATIENCE):
                assert await watch(box.handles, LIMITS, samples.append) is Outcome.MEMORY


async def test_others_have_their_turn_while_a_full_box_is_looked_at() -> None:
    """Between two turns of another task no more than a part of the processes is looked at."""
    code = "import os, time\nfor _ in range(150):\n    if os.fork() == 0: time.sleep(1000)\nprint('ready', flush=True)"
    with plain_box(["python3", "-c", code + "\ntime.sleep(1000)"]) as box:
        box.read_until(b"ready")
        samples: list[Sample] = []
        turns = 0
        async with trio.open_nursery() as nursery:
            nursery.start_soon(watch, box.handles, Limits(processes=1000), samples.append)
            await trio.testing.wait_all_tasks_blocked()
            while len(samples) < 2:
                turns += 1
                await trio.lowlevel.checkpoint()
            nursery.cancel_scope.cancel()
        assert turns > 2


@pytest.mark.parametrize(
    ("sample", "outcome"),
    [
        (Sample(66 * MiB, 1, 0.0), Outcome.MEMORY),
        (Sample(64 * MiB, 10, 0.5), None),
        (Sample(0, 1, 0.51), Outcome.CPU),
        (Sample(0, 100, 0.0), Outcome.PROCESSES),
    ],
)
def test_which_limit_is_broken(sample: Sample, outcome: Outcome | None) -> None:
    assert broken(sample, LIMITS) is outcome


def test_no_limit_of_time_when_it_is_zero() -> None:
    assert broken(Sample(0, 1, 1e6), Limits(cpu=0)) is None


@given(st.integers(-(2**40), 2**40), st.floats(-1e12, 1e12))
def test_a_box_is_looked_at_again_before_it_can_be_over(room: int, growth: float) -> None:
    seconds = pause(room, growth)
    assert seconds >= HASTE
    assert seconds == HASTE or seconds * 2 * growth <= room
