"""Sessions in real boxes."""

import os
import time
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any

import pytest
import trio

from runnerd import toolchains
from runnerd.config import Config
from runnerd.sandbox.host import Host
from runnerd.sandbox.spec import MiB, Mode, Outcome, Window
from runnerd.session.output import Chunk
from runnerd.session.program import INPUT_MAX
from runnerd.session.registry import Registry
from runnerd.session.run import Run
from runnerd.session.session import Session
from runnerd.session.viewer import Ended, Started, StateChange, Viewer

LANGUAGES = toolchains.load()
PATIENCE = 60.0


@asynccontextmanager
async def registering(host: Host) -> AsyncGenerator[Registry]:
    with trio.fail_after(PATIENCE):
        async with trio.open_nursery() as nursery:
            yield Registry(host, LANGUAGES, Config(), nursery)


def python(code: str, mode: Mode = "pipes", **fields: Any) -> Run:
    return Run("python", {"": code.encode()}, mode=mode, **fields)


def shell(code: str, mode: Mode = "pipes", **fields: Any) -> Run:
    return Run(argv=("/bin/bash", "-c", code), mode=mode, **fields)


class Watching:
    """A viewer that keeps what it saw."""

    def __init__(self, viewer: Viewer) -> None:
        self.viewer = viewer
        self.events: list[Any] = []

    async def until(self, kind: Any) -> Any:
        while True:
            event = await self.viewer.next()
            self.events.append(event)
            if event == kind or (isinstance(kind, type) and isinstance(event, kind)):
                return event
            assert not isinstance(event, Ended), (event, self.stdout)

    async def until_output(self, text: bytes) -> None:
        while text not in self.stdout:
            await self.until(Chunk)

    @property
    def stdout(self) -> bytes:
        return b"".join(event.data for event in self.events if isinstance(event, Chunk) and event.channel == "stdout")

    @property
    def stderr(self) -> bytes:
        return b"".join(event.data for event in self.events if isinstance(event, Chunk) and event.channel == "stderr")


async def begin(registry: Registry, run: Run) -> tuple[Session, Watching]:
    session = await registry.start(run)
    return session, Watching(session.viewer())


async def finish(host: Host, run: Run) -> tuple[Watching, Ended]:
    async with registering(host) as registry:
        _, seen = await begin(registry, run)
        last = await seen.until(Ended)
    return seen, last


async def test_exited(host: Host) -> None:
    seen, last = await finish(host, python("import sys; print('out'); print('err', file=sys.stderr); sys.exit(7)"))
    assert (last.outcome, last.code, last.message) == (Outcome.EXITED, 7, "")
    assert (seen.stdout, seen.stderr) == (b"out\n", b"err\n")
    assert 0 < last.usage.cpu < PATIENCE
    assert last.usage.memory > MiB
    assert 0 < last.timings["box"] <= last.timings["program"] <= last.timings["output"] <= last.timings["end"]


async def test_signal(host: Host) -> None:
    _, last = await finish(host, shell("kill -SEGV $$"))
    assert (last.outcome, last.signal, last.code) == (Outcome.SIGNAL, "SEGV", None)


@pytest.mark.parametrize(
    ("code", "limits", "outcome"),
    [
        ("while True: print(end='.', flush=True) or time.sleep(0.02)", {"wall": 0.5, "idle": 30}, Outcome.WALL),
        ("time.sleep(30)", {"wall": 30, "idle": 0.5}, Outcome.IDLE),
        ("while True: pass", {"cpu": 1, "wall": 30}, Outcome.CPU),
        ("signal.signal(signal.SIGXCPU, signal.SIG_IGN)\nwhile True: pass", {"cpu": 1, "wall": 30}, Outcome.CPU),
        ("x = []\nwhile True: x.append(bytes(1 << 20))", {"memory": 64 * MiB}, Outcome.MEMORY),
        ("while True: print('flood' * 100)", {"output": 100_000}, Outcome.OUTPUT),
    ],
)
async def test_limits(host: Host, code: str, limits: dict[str, float], outcome: Outcome) -> None:
    seen, last = await finish(host, python(f"import time, signal\n{code}", limits=limits))
    assert last.outcome is outcome
    assert last.message
    if outcome is Outcome.OUTPUT:
        assert len(seen.stdout) == 100_000
    if outcome is Outcome.MEMORY:
        assert last.usage.memory > 64 * MiB


async def test_killed_with_all_that_it_started(host: Host) -> None:
    async with registering(host) as registry:
        session, seen = await begin(registry, shell("trap '' TERM INT HUP; setsid sleep 1000 & echo up; sleep 1000"))
        await seen.until_output(b"up")
        session.kill("enough")
        last = await seen.until(Ended)
    assert (last.outcome, last.message) == (Outcome.KILLED, "enough")


async def test_compile_error_and_a_compiled_program(host: Host) -> None:
    seen, last = await finish(host, Run("c", {"": b"int main(void) { return x; }"}, mode="pipes"))
    assert (last.outcome, last.code) == (Outcome.COMPILE_ERROR, 1)
    assert b"main.c" in seen.stderr
    code = b'#include <stdio.h>\nint main(void) { int n; printf("n? "); scanf("%d", &n); printf("%d\\n", n * 2); '
    code += b"return 4; }"
    async with registering(host) as registry:
        session, seen = await begin(registry, Run("c", {"": code}, mode="split"))
        await seen.until(StateChange("waiting"))
        assert seen.stdout == b"n? "
        await session.write(b"21\n")
        last = await seen.until(Ended)
    assert (last.outcome, last.code, seen.stdout) == (Outcome.EXITED, 4, b"n? 42\n")


async def test_failed(host: Host) -> None:
    _, last = await finish(host, Run(argv=("/bin/nothing-here",), mode="pipes"))
    assert last.outcome is Outcome.FAILED
    assert "/bin/nothing-here: No such file" in last.message
    _, last = await finish(host, Run("python", {"../main.py": b""}, mode="pipes"))
    assert last.outcome is Outcome.FAILED


async def test_waiting_is_told_for_each_question_and_after_the_output_before_it(host: Host) -> None:
    code = "a = input('a? ')\nb = input('b? ')\nprint(a + b)"
    async with registering(host) as registry:
        session, seen = await begin(registry, python(code, "terminal"))
        await seen.until(StateChange("waiting"))
        assert seen.stdout == b"a? "
        await session.write(b"1\n")
        assert session.state == "running"
        await seen.until(StateChange("waiting"))
        assert seen.stdout == b"a? 1\r\nb? "
        await session.write(b"2\n")
        await seen.until(Ended)
    assert seen.stdout == b"a? 1\r\nb? 2\r\n12\r\n"
    states = [event for event in seen.events if isinstance(event, StateChange)]
    assert states == [StateChange(state) for state in ("waiting", "running", "waiting", "running")]


async def test_the_echo_of_a_key_is_there_when_write_returns(host: Host) -> None:
    async with registering(host) as registry:
        session, seen = await begin(registry, Run(argv=("/bin/cat",)))
        await seen.until(StateChange("waiting"))
        for number in range(20):
            await session.write(b"k", seen.viewer)
            assert seen.viewer.poll() == Chunk("stdout", number, b"k")
        session.kill()


async def test_ctrl_c_as_a_key_and_as_a_signal(host: Host) -> None:
    code = (
        "import time\n"
        "while True:\n"
        "    try:\n"
        "        print('go', flush=True)\n"
        "        while True: time.sleep(0.01)\n"  # a longer sleep could begin just after the signal came
        "    except KeyboardInterrupt: print('int', flush=True)\n"
    )
    async with registering(host) as registry:
        session, seen = await begin(registry, python(code, "terminal"))
        await seen.until_output(b"go")
        await session.write(b"\x03")
        await seen.until_output(b"int")
        await seen.until_output(b"int\r\ngo")
        await session.signal("INT")
        await seen.until_output(b"int\r\ngo\r\nint")
        await session.signal("KILL")
        last = await seen.until(Ended)
    assert (last.outcome, last.signal) == (Outcome.SIGNAL, "KILL")


@pytest.mark.parametrize("mode", ["terminal", "split", "pipes"])
async def test_the_end_of_input_in_the_middle_of_a_line_and_again(host: Host, mode: Mode) -> None:
    """Two programs read to the end, one after the other: a terminal's end of input has to be told to each."""
    async with registering(host) as registry:
        run = shell("stty -echo 2>/dev/null; echo up; wc -c; wc -c; wc -c", mode)
        session, seen = await begin(registry, run)
        await seen.until_output(b"up")
        await session.write(b"whole\nhalf")
        session.close_input()
        last = await seen.until(Ended)
    assert last.outcome is Outcome.EXITED
    assert seen.stdout.split() == [b"up", b"10", b"0", b"0"]


async def test_given_stdin_may_have_lines_of_any_length_in_pipes(host: Host) -> None:
    seen, _ = await finish(host, python("print(len(input()))", stdin=b"x" * 100_000 + b"\n"))
    assert seen.stdout == b"100000\n"


@pytest.mark.parametrize("mode", ["terminal", "split", "pipes"])
async def test_output_just_before_the_end_is_never_lost(host: Host, mode: Mode) -> None:
    code = "import os\nos.write(1, b'x' * 50000)\nos.write(1, b'end')\nos._exit(0)"
    async with registering(host) as registry:
        for _ in range(5):
            _, seen = await begin(registry, python(code, mode))
            last = await seen.until(Ended)
            assert (last.outcome, last.message) == (Outcome.EXITED, "")
            assert seen.stdout == b"x" * 50000 + b"end"


@pytest.mark.parametrize("mode", ["terminal", "pipes"])
async def test_a_stray_child_that_keeps_the_descriptor_does_not_delay_the_end(host: Host, mode: Mode) -> None:
    seen, last = await finish(host, shell("(trap '' HUP; setsid sleep 1000) & disown; echo done", mode))
    assert seen.stdout.split() == [b"done"]
    assert last.outcome is Outcome.EXITED


async def test_a_character_written_in_pieces_is_whole(host: Host) -> None:
    code = "import os, time\nfor byte in '€😀'.encode(): os.write(1, bytes([byte])); time.sleep(0.002)"
    seen, _ = await finish(host, python(code))
    assert seen.stdout.decode() == "€😀"


@pytest.mark.parametrize("mode", ["terminal", "pipes"])
async def test_a_program_that_never_reads_can_be_resized_signalled_and_killed(host: Host, mode: Mode) -> None:
    async with registering(host) as registry:
        session, seen = await begin(
            registry, shell("trap 'echo usr' USR1; echo up; while :; do sleep 0.01; done", mode)
        )
        await seen.until_output(b"up")
        for _ in range(INPUT_MAX // 65536):
            await session.write(b"x" * 65535 + b"\n")
        session.resize(Window(10, 20))
        await session.signal("USR1")
        await seen.until_output(b"usr")
        session.kill()
        assert (await seen.until(Ended)).outcome is Outcome.KILLED


async def test_a_resize_reaches_the_program(host: Host) -> None:
    async with registering(host) as registry:
        run = shell(
            "trap 'stty size' WINCH; stty size; while :; do sleep 0.01; done", "terminal", window=Window(30, 90)
        )
        session, seen = await begin(registry, run)
        await seen.until_output(b"30 90")
        session.resize(Window(31, 91))
        await seen.until_output(b"31 91")
        session.kill()


async def test_a_flood_is_held_back_for_a_viewer_that_does_not_read_and_others_go_on(host: Host) -> None:
    async with registering(host) as registry:
        session, seen = await begin(registry, shell("yes", limits={"output": 8 * MiB}))
        await seen.until(Started)
        end = -1
        while end != session.log.end or end == 0:
            end = session.log.end
            await trio.sleep(0.2)
        assert end < 2 * MiB
        _, other = await begin(registry, python("print('hello')"))
        await other.until(Ended)
        assert other.stdout == b"hello\n"
        last = await seen.until(Ended)
    assert (last.outcome, len(seen.stdout)) == (Outcome.OUTPUT, 8 * MiB)


async def test_runs_leave_no_descriptor_behind(host: Host) -> None:
    async def some(registry: Registry) -> None:
        for mode in ("terminal", "split", "pipes"):
            _, seen = await begin(registry, python("print('hello')", mode))
            await seen.until(Ended)
        session, seen = await begin(registry, shell("read x", "terminal"))
        await seen.until(StateChange("waiting"))
        session.kill()
        await seen.until(Ended)

    async with registering(host) as registry:
        await some(registry)
        await _until_empty(registry)
        before = len(os.listdir("/proc/self/fd"))
        for _ in range(3):
            await some(registry)
        await _until_empty(registry)
        assert len(os.listdir("/proc/self/fd")) == before
        assert registry.sessions == {}


async def _until_empty(registry: Registry) -> None:
    deadline = time.monotonic() + PATIENCE
    while registry.status().boxes:
        assert time.monotonic() < deadline
        await trio.sleep(0.01)
