"""Sessions over fake boxes: outcomes, order, timers (on trio's autojump clock)."""

import gc
import os
import signal
import tty
import weakref
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from functools import partial
from typing import Any, cast

import pytest
import trio
import trio.testing
from msgspec.structs import replace

from runnerd.errors import BadRequest, BoxError, BrokenBox, InitRefused, SetupError
from runnerd.sandbox.host import Host
from runnerd.sandbox.pool import Kind, cold
from runnerd.sandbox.spec import BoxSpec, Exit, Limits, Mode, Outcome, Window
from runnerd.session.box_run import DRAIN_SECONDS, START_SECONDS, BoxRun
from runnerd.session.output import Chunk
from runnerd.session.program import INPUT_MAX
from runnerd.session.run import Run
from runnerd.session.session import COMPILE_SECONDS, Session, Stay
from runnerd.session.viewer import TAIL, Ended, Skipped, Started, Viewer
from runnerd.toolchains import Plan

from .fake_box import Inside, World

LIMITS = Limits(wall=0, idle=0)
PIPES = Run("python", mode="pipes")


@asynccontextmanager
async def serving(
    world: World,
    *programs: Any,
    run: Run = PIPES,
    limits: Limits = LIMITS,
    compile: tuple[str, ...] | None = None,
    detach: float = 0.0,
) -> AsyncGenerator[tuple[Session, Viewer]]:
    world.programs = list(programs)
    plan = Plan({"main.py": b"code"}, compile, ("python3", "main.py"), {"OWN": "1"})
    spec = BoxSpec(limits=limits)
    opening = partial(cold, cast(Host, None), Kind(spec))
    session = BoxRun("n1-test", opening, spec, run, plan, stay=Stay(detach=detach))
    viewer = session.viewer()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(session.serve)
        yield session, viewer


async def all_of(viewer: Viewer) -> list[Any]:
    events: list[Any] = []
    while not (events and isinstance(events[-1], Ended)):
        events.append(await viewer.next())
    return events


async def ended(viewer: Viewer) -> Ended:
    return (await all_of(viewer))[-1]


def output(events: list[Any]) -> dict[str, bytes]:
    result = {"stdout": b"", "stderr": b""}
    for event in events:
        if isinstance(event, Chunk):
            result[event.channel] += event.data
    return result


async def silent(inside: Inside) -> None:
    return None


async def until_begun(viewer: Viewer) -> None:
    assert isinstance(await viewer.next(), Started)


async def test_what_has_ended_is_kept_by_nobody(world: World) -> None:
    """Nor until the interpreter's next full collection: a client's code is part of it, which may be large."""

    async def program(inside: Inside) -> int:
        return 0

    async def run() -> weakref.ref[Session]:
        async with serving(world, program) as (session, viewer):
            await ended(viewer)
            viewer.close()
        return weakref.ref(session)

    gc.disable()
    try:
        session = await run()
        await trio.testing.wait_all_tasks_blocked()
        assert session() is None
    finally:
        gc.enable()


async def test_a_run_from_its_start_to_its_end(world: World) -> None:
    async def program(inside: Inside) -> int:
        inside.out(b"hello")
        inside.err(b"trouble")
        return 3

    run = replace(PIPES, env={"MINE": "2", "LANG": "C"}, window=Window(5, 6))
    async with serving(world, program, run=run) as (session, viewer):
        assert session.state == "created"
        events = await all_of(viewer)
    first, last = events[0], events[-1]
    assert first == Started("n1-test", "python", "pipes", first.timings)
    assert first.timings.keys() == {"box", "program"}
    assert output(events) == {"stdout": b"hello", "stderr": b"trouble"}
    assert (last.outcome, last.code, last.signal, last.message) == (Outcome.EXITED, 3, None, "")
    assert (last.usage.cpu, last.usage.memory) == (0.1, 2000)
    assert last.timings.keys() == {"box", "program", "output", "end"}
    assert (session.state, session.started, session.ended) == ("finished", first, last)
    assert session.over.is_set()
    inside = world.boxes[0].insides[0]
    assert inside.files == {"main.py": b"code"}
    assert inside.launch.argv == ("python3", "main.py")
    assert inside.launch.window == Window(5, 6)
    assert inside.launch.cwd == "/work"
    assert inside.launch.env == {
        "PATH": "/opt/runnerd/bin:/usr/local/bin:/usr/bin:/bin",
        "HOME": "/work",
        "USER": "runner",
        "LOGNAME": "runner",
        "LANG": "C",
        "TERM": "dumb",
        "OWN": "1",
        "MINE": "2",
    }


@pytest.mark.parametrize("mode", ["terminal", "split", "pipes"])
async def test_output_just_before_the_end_is_never_lost(world: World, mode: Any) -> None:
    async def program(inside: Inside) -> int:
        inside.out(b"x" * 3000 + b"end")
        return 0

    for _ in range(20):
        async with serving(world, program, run=Run("python", mode=mode)) as (_, viewer):
            assert output(await all_of(viewer))["stdout"] == b"x" * 3000 + b"end"


async def test_a_stray_that_keeps_a_pipe_open_delays_the_end_by_a_tenth_of_a_second_at_most(
    world: World, autojump_clock: trio.testing.MockClock
) -> None:
    async def program(inside: Inside) -> None:
        async def stray() -> None:
            await trio.sleep(DRAIN_SECONDS / 2)
            inside.out(b"late")
            await trio.sleep(1000)

        inside.process.exit = Exit(0, None, 0.0, 0)
        inside.process.exited.set()
        await stray()

    before = trio.current_time()
    async with serving(world, program) as (_, viewer):
        events = await all_of(viewer)
        assert trio.current_time() - before == pytest.approx(DRAIN_SECONDS)
    assert output(events)["stdout"] == b"late"
    assert events[-1].outcome is Outcome.EXITED


@pytest.mark.parametrize(
    ("exit", "outcome", "code", "name"),
    [
        (Exit(None, signal.SIGSEGV, 0, 0), Outcome.SIGNAL, None, "SEGV"),
        (Exit(None, signal.SIGKILL, 1.9, 0), Outcome.SIGNAL, None, "KILL"),
        (Exit(None, 40, 0, 0), Outcome.SIGNAL, None, "40"),
        (Exit(None, signal.SIGXCPU, 2.0, 0), Outcome.CPU, None, None),
        (Exit(None, signal.SIGKILL, 2.0, 0), Outcome.CPU, None, None),
        (Exit(128 + signal.SIGXCPU, None, 2.0, 0), Outcome.CPU, None, None),
        (Exit(128 + signal.SIGXCPU, None, 1.0, 0), Outcome.EXITED, 152, None),
        (Exit(1, None, 2.5, 0), Outcome.EXITED, 1, None),
    ],
)
async def test_what_the_kernel_says_decides_the_outcome(
    world: World, exit: Exit, outcome: Outcome, code: int | None, name: str | None
) -> None:
    async def program(inside: Inside) -> Exit:
        return exit

    async with serving(world, program, limits=replace(LIMITS, cpu=2.0)) as (session, viewer):
        last = await ended(viewer)
    assert (last.outcome, last.code, last.signal) == (outcome, code, name)
    assert session.state == ("terminated" if outcome is Outcome.CPU else "finished")


async def test_wall_time(world: World, autojump_clock: trio.testing.MockClock) -> None:
    async def program(inside: Inside) -> None:
        while True:
            await trio.sleep(1)
            inside.out(b".")

    async with serving(world, program, limits=replace(LIMITS, wall=10, idle=5)) as (session, viewer):
        last = await ended(viewer)
    assert (last.outcome, last.message) == (Outcome.WALL, "the program ran for longer than 10 s")
    assert last.usage.wall == pytest.approx(10)
    assert last.usage.cpu == 0.5, "the program has told nothing, so the box's figures count"
    assert session.state == "terminated"
    assert world.boxes[0].killed


async def test_idle_time_counts_from_the_last_input_or_output(
    world: World, autojump_clock: trio.testing.MockClock
) -> None:
    async def program(inside: Inside) -> None:
        await trio.sleep(4)
        inside.out(b".")

    async with serving(world, program, limits=replace(LIMITS, wall=100, idle=5)) as (session, viewer):
        await until_begun(viewer)
        begun = trio.current_time()
        await trio.sleep(8)
        await session.write(b"x")
        last = await ended(viewer)
    assert last.outcome is Outcome.IDLE
    assert trio.current_time() - begun == pytest.approx(13)


async def test_zero_means_no_limit(world: World, autojump_clock: trio.testing.MockClock) -> None:
    async def program(inside: Inside) -> int:
        await trio.sleep(80_000)
        return 0

    async with serving(world, program, limits=replace(LIMITS, cpu=0)) as (_, viewer):
        assert (await ended(viewer)).outcome is Outcome.EXITED


async def test_output_beyond_the_limit(world: World) -> None:
    async def program(inside: Inside) -> None:
        inside.out(b"x" * 3000)

    async with serving(world, program, limits=replace(LIMITS, output=1000)) as (_, viewer):
        events = await all_of(viewer)
    assert output(events)["stdout"] == b"x" * 1000
    assert events[-1].outcome is Outcome.OUTPUT


async def test_output_beyond_the_limit_in_the_last_moment(world: World) -> None:
    async def program(inside: Inside) -> int:
        inside.out(b"x" * 3000)
        return 0

    async with serving(world, program, limits=replace(LIMITS, output=2999)) as (_, viewer):
        events = await all_of(viewer)
    assert len(output(events)["stdout"]) == 2999
    assert events[-1].outcome is Outcome.OUTPUT


@pytest.mark.parametrize("exceeded", [Outcome.MEMORY, Outcome.CPU, Outcome.PROCESSES])
async def test_a_limit_that_the_box_holds(world: World, exceeded: Outcome) -> None:
    async def program(inside: Inside) -> None:
        inside.out(b"last words")
        inside.box.kill(exceeded)

    async with serving(world, program) as (_, viewer):
        events = await all_of(viewer)
    assert output(events)["stdout"] == b"last words"
    assert events[-1].outcome is exceeded
    assert events[-1].message.startswith("the program ")


async def test_a_program_that_the_kernel_killed_for_a_limit(world: World) -> None:
    """Init still told its end, before it was killed as well."""

    async def program(inside: Inside) -> Exit:
        inside.box.exceeded = Outcome.MEMORY
        return Exit(None, signal.SIGKILL, 0.1, 2000)

    async with serving(world, program) as (_, viewer):
        last = await ended(viewer)
    assert (last.outcome, last.signal) == (Outcome.MEMORY, None)


@pytest.mark.parametrize(("code", "told"), [(1, True), (0, False)])
async def test_a_run_that_fails_after_it_met_its_process_limit_says_so(world: World, code: int, told: bool) -> None:
    async def program(inside: Inside) -> int:
        inside.box.short = True
        return code

    async with serving(world, program) as (_, viewer):
        last = await ended(viewer)
    assert (last.outcome, last.code) == (Outcome.EXITED, code)
    assert ("refused more than 64 processes" in last.message) == told


async def test_a_bomb_that_another_limit_ends_says_so_too(world: World) -> None:
    async def program(inside: Inside) -> Exit:
        inside.box.short = True
        inside.box.exceeded = Outcome.CPU
        return Exit(None, signal.SIGKILL, 0.1, 2000)

    async with serving(world, program) as (_, viewer):
        last = await ended(viewer)
    assert last.outcome is Outcome.CPU
    assert "CPU" in last.message
    assert "refused more than 64 processes" in last.message


async def test_a_box_that_breaks(world: World) -> None:
    async def program(inside: Inside) -> None:
        inside.box.failure = BrokenBox("the box's init has ended")
        inside.box.kill()

    async with serving(world, program) as (session, viewer):
        last = await ended(viewer)
    assert (last.outcome, last.message) == (Outcome.FAILED, "the box's init has ended")
    assert session.state == "terminated"


@pytest.mark.parametrize(
    "problem", [InitRefused("start", 2, "python3"), BrokenBox("the box could not be made: no"), BoxError("odd")]
)
async def test_a_program_that_does_not_start(world: World, problem: BoxError) -> None:
    world.start_error = problem
    async with serving(world) as (_, viewer):
        events = await all_of(viewer)
    assert [(event.outcome, event.message) for event in events] == [(Outcome.FAILED, problem.message)]


async def test_a_host_that_cannot_make_boxes(world: World) -> None:
    world.open_error = SetupError("bubblewrap: Permission denied")
    async with serving(world) as (_, viewer):
        last = await ended(viewer)
    assert (last.outcome, last.message) == (Outcome.FAILED, "bubblewrap: Permission denied")


async def test_a_box_that_never_answers(world: World, autojump_clock: trio.testing.MockClock) -> None:
    world.start_gate = trio.Event()
    async with serving(world) as (_, viewer):
        last = await ended(viewer)
    assert last.outcome is Outcome.FAILED
    assert trio.current_time() == pytest.approx(START_SECONDS, abs=1)


async def test_killing_at_each_state(world: World) -> None:
    async with serving(world, silent) as (session, viewer):
        session.kill()
        assert (await ended(viewer)).outcome is Outcome.KILLED

    world.start_gate = trio.Event()
    async with serving(world, silent) as (session, viewer):
        await trio.testing.wait_all_tasks_blocked()
        session.kill("because")
        last = await ended(viewer)
        assert (last.outcome, last.message, last.usage.wall) == (Outcome.KILLED, "because", 0.0)
    world.start_gate.set()

    async with serving(world, silent) as (session, viewer):
        await until_begun(viewer)
        session.kill()
        session.kill("again")
        last = await ended(viewer)
        assert (last.outcome, last.message) == (Outcome.KILLED, "")
        assert session.state == "terminated"
        session.kill()
    assert all(box.killed for box in world.boxes)


async def test_the_end_is_told_before_the_box_is_gone(world: World) -> None:
    world.reaping = trio.Event()

    async def program(inside: Inside) -> int:
        return 0

    async with serving(world, program) as (_, viewer):
        assert (await ended(viewer)).outcome is Outcome.EXITED
        world.reaping.set()


async def test_input_before_the_program_runs_is_kept_for_it(world: World) -> None:
    async def program(inside: Inside) -> int:
        while data := await inside.read():
            inside.out(data)
        return 0

    world.start_gate = trio.Event()
    async with serving(world, program) as (session, viewer):
        await session.write(b"early ")
        await session.write(b"bird")
        session.close_input()
        with pytest.raises(BadRequest) as caught:
            await session.write(b"x")
        assert caught.value.code == "input_closed"
        world.start_gate.set()
        assert output(await all_of(viewer))["stdout"] == b"early bird"
        await session.write(b"after the end")
        session.close_input()


async def test_too_much_input_before_the_program_runs(world: World) -> None:
    world.start_gate = trio.Event()
    async with serving(world, silent) as (session, _):
        await session.write(b"x" * INPUT_MAX)
        with pytest.raises(BadRequest) as caught:
            await session.write(b"x")
        assert caught.value.code == "input_overflow"
        session.kill()


async def test_a_caller_that_can_wait_is_made_to_before_the_program_runs_and_while_it_does_not_read(
    world: World,
) -> None:
    total = 8 * 1024 * 1024

    async def program(inside: Inside) -> int:
        left = total
        while left:
            left -= len(await inside.read(1 << 20))
        return 0

    async def give(session: Session) -> None:
        for _ in range(total // (256 * 1024)):
            await session.room()
            await session.write(b"x" * 256 * 1024)

    world.start_gate = trio.Event()
    async with serving(world, program) as (session, viewer), trio.open_nursery() as nursery:
        nursery.start_soon(give, session)
        await trio.testing.wait_all_tasks_blocked()
        world.start_gate.set()
        assert (await ended(viewer)).outcome is Outcome.EXITED

    async with serving(world, silent) as (session, viewer), trio.open_nursery() as nursery:
        nursery.start_soon(give, session)
        await until_begun(viewer)
        await trio.testing.wait_all_tasks_blocked()
        session.kill()  # which lets the waiting one go on to the end


async def test_given_stdin_is_fed_and_closed(world: World) -> None:
    async def program(inside: Inside) -> int:
        while data := await inside.read():
            inside.out(data)
        return 0

    async with serving(world, program, run=replace(PIPES, stdin=b"given")) as (session, viewer):
        await until_begun(viewer)
        with pytest.raises(BadRequest):
            await session.write(b"more")
        assert output(await all_of(viewer))["stdout"] == b"given"


async def test_a_keystroke_is_echoed_to_the_task_that_wrote_it(world: World) -> None:
    async with serving(world, silent, run=Run("python")) as (session, viewer):
        await until_begun(viewer)
        await session.write(b"k", viewer)
        assert viewer.poll() == Chunk("stdout", 0, b"k")
        session.kill()


async def test_signals_go_to_the_foreground_and_wait_for_the_program(world: World) -> None:
    async def program(inside: Inside) -> Exit:
        await inside.signalled.wait()
        return Exit(None, inside.signals[0], 0, 0)

    world.start_gate = trio.Event()
    async with serving(world, program) as (session, viewer):
        with pytest.raises(BadRequest):
            await session.signal("NOPE")
        async with trio.open_nursery() as nursery:
            nursery.start_soon(session.signal, "INT")
            await trio.testing.wait_all_tasks_blocked()
            world.start_gate.set()
        last = await ended(viewer)
        assert (last.outcome, last.signal) == (Outcome.SIGNAL, "INT")
        await session.signal("INT")


async def test_a_signal_to_a_program_that_never_started_is_no_error(world: World) -> None:
    world.start_gate = trio.Event()
    async with serving(world) as (session, _), trio.open_nursery() as nursery:
        nursery.start_soon(session.signal, "INT")
        await trio.testing.wait_all_tasks_blocked()
        session.kill()


async def test_resizing(world: World) -> None:
    async with serving(world, silent, run=Run("python")) as (session, viewer):
        session.resize(Window(10, 20))
        await until_begun(viewer)
        inside = world.boxes[0].insides[0]
        assert inside.launch.window == Window(10, 20)
        session.resize(Window(11, 21))
        assert os.get_terminal_size(inside.stdin) == (21, 11)
        with pytest.raises(BadRequest):
            session.resize(Window(0, 20))
        session.kill()


async def test_compiling_comes_first_and_its_terminal_is_hung_up(world: World) -> None:
    async def compiler(inside: Inside) -> int:
        inside.err(b"warning: odd\n")
        return 0

    async def program(inside: Inside) -> int:
        inside.out(await inside.read())
        return 0

    async with serving(world, compiler, program, compile=("cc", "main.c")) as (session, viewer):
        await session.write(b"for the program")
        events = await all_of(viewer)
    box = world.boxes[0]
    assert output(events) == {"stdout": b"for the program", "stderr": b"warning: odd\n"}
    assert [inside.launch.argv[0] for inside in box.insides] == ["cc", "python3"]
    assert [inside.files for inside in box.insides] == [{"main.py": b"code"}, {}]
    assert box.released == [box.insides[0].process]
    assert [type(event) for event in events].count(Started) == 1
    assert events[-1].timings.keys() == {"box", "compile", "program", "output", "end"}


@pytest.mark.parametrize(
    ("exit", "code", "name"), [(Exit(1, None, 0, 0), 1, None), (Exit(None, signal.SIGINT, 0, 0), None, "INT")]
)
async def test_a_failed_compile_step_is_the_end(world: World, exit: Exit, code: int | None, name: str | None) -> None:
    async def compiler(inside: Inside) -> Exit:
        inside.err(b"error")
        return exit

    async with serving(world, compiler, compile=("cc",)) as (session, viewer):
        events = await all_of(viewer)
    assert output(events)["stderr"] == b"error"
    assert (events[-1].outcome, events[-1].code, events[-1].signal) == (Outcome.COMPILE_ERROR, code, name)
    assert session.state == "finished"
    assert len(world.boxes[0].insides) == 1


async def test_compiling_has_its_own_time_and_a_key_interrupts_it(
    world: World, autojump_clock: trio.testing.MockClock
) -> None:
    limits = replace(LIMITS, wall=1, idle=1)
    async with serving(world, silent, compile=("cc",), limits=limits) as (_, viewer):
        last = await ended(viewer)
        assert (last.outcome, last.message) == (Outcome.WALL, "compiling took longer than 60 s")
        assert last.usage.wall == pytest.approx(COMPILE_SECONDS)

    async def compiler(inside: Inside) -> Exit:
        await inside.signalled.wait()
        return Exit(None, inside.signals[0], 0, 0)

    async with serving(world, compiler, compile=("cc",), run=Run("c")) as (session, viewer):
        await until_begun(viewer)
        await session.write(b"\x03")
        last = await ended(viewer)
        assert (last.outcome, last.signal) == (Outcome.COMPILE_ERROR, "INT")


async def test_a_session_that_its_last_viewer_left_lives_on_for_the_time_given(
    world: World, autojump_clock: trio.testing.MockClock
) -> None:
    async with serving(world, silent, detach=10) as (session, viewer):
        await until_begun(viewer)
        viewer.close()
        await trio.sleep(9)
        viewer = session.viewer()
        await trio.sleep(100)
        assert session.ended is None
        viewer.close()
        await trio.sleep(9)
        assert session.ended is None
        await trio.sleep(2)
        assert session.ended is not None
        assert (session.ended.outcome, session.ended.message) == (Outcome.KILLED, "nobody is attached")


async def test_a_session_that_everybody_left_ends_at_once_by_default(world: World) -> None:
    async with serving(world, silent) as (session, viewer):
        viewer.close()
    assert session.ended is not None
    assert session.ended.outcome is Outcome.KILLED


def flood(size: int) -> Callable[[Inside], Awaitable[int | None]]:
    """A program that writes so much, as fast as it is read, and goes on."""

    async def program(inside: Inside) -> int | None:
        lines = (b"y" * 999 + b"\n") * (size // 1000)
        await trio.to_thread.run_sync(inside.out, lines)  # it waits whenever the terminal is full
        return None

    return program


async def flooded(session: Session, size: int) -> None:
    """Wait until so much has been logged, which no viewer has read."""
    with trio.fail_after(10):
        while session.log.end < size:
            await trio.sleep(0.001)


@pytest.mark.parametrize(("mode", "how"), [("terminal", "key"), ("terminal", "signal"), ("split", "signal")])
async def test_an_interrupt_overtakes_what_was_not_read(world: World, mode: Mode, how: str) -> None:
    async with serving(world, flood(40_000), run=replace(PIPES, mode=mode)) as (session, viewer):
        await flooded(session, 40_000)
        if how == "key":
            await session.write(b"\x03")
        else:
            await session.signal("INT")
        assert isinstance(await viewer.next(), Started)
        assert isinstance(skipped := await viewer.next(), Skipped)
        assert skipped.size >= 40_000 - TAIL - 1000
        session.kill()


@pytest.mark.parametrize(("mode", "data"), [("terminal", b"x"), ("terminal", b"\x1a"), ("pipes", b"\x03")])
async def test_what_is_no_interrupt_overtakes_nothing(world: World, mode: Mode, data: bytes) -> None:
    async with serving(world, flood(20_000), run=replace(PIPES, mode=mode)) as (session, viewer):
        await flooded(session, 20_000)
        await session.write(data)
        if mode == "pipes":
            await session.signal("INT")
        assert isinstance(await viewer.next(), Started)
        assert isinstance(chunk := await viewer.next(), Chunk)
        assert chunk.offset == 0
        session.kill()


async def test_a_key_that_the_program_reads_for_itself_overtakes_nothing(world: World) -> None:
    async def program(inside: Inside) -> int | None:
        tty.setraw(inside.stdin)
        return await flood(20_000)(inside)

    async with serving(world, program, run=replace(PIPES, mode="terminal")) as (session, viewer):
        await flooded(session, 20_000)
        await session.write(b"\x03")
        assert isinstance(await viewer.next(), Started)
        assert isinstance(chunk := await viewer.next(), Chunk)
        assert chunk.offset == 0
        session.kill()
