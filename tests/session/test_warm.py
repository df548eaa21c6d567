"""Runs in warm boxes, for real: as quick answers, never as wrong ones."""

import os
import signal
import time
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass

import pytest
import trio

from runnerd import toolchains
from runnerd.config import Config
from runnerd.config import Pool as Settings
from runnerd.errors import BrokenBox
from runnerd.sandbox.host import Host
from runnerd.sandbox.pool import Pool, Stock
from runnerd.sandbox.spec import Mode
from runnerd.session.registry import Registry
from runnerd.session.run import Run
from runnerd.session.session import Session
from runnerd.session.viewer import Ended, Output, StateChange

LANGUAGES = toolchains.load()


@dataclass
class Warm:
    registry: Registry
    pool: Pool

    async def ready(self, language: str, mode: Mode = "pipes") -> None:
        """Wait until a box of this kind waits."""
        if self.stock(language, mode) is None:
            await self.ran(Run(language, {"": b""}, mode=mode))
        with trio.fail_after(30):
            while (stock := self.stock(language, mode)) is None or not stock.idle:
                await trio.sleep(0.01)

    def stock(self, language: str, mode: Mode) -> Stock | None:
        return next((each for each in self.pool.stocks() if (each.language, each.mode) == (language, mode)), None)

    def hits(self) -> int:
        return sum(stock.hits for stock in self.pool.stocks())

    async def ran(self, run: Run) -> tuple[str, str, Ended]:
        session = await self.registry.start(run)
        return await finish(session)


async def finish(session: Session) -> tuple[str, str, Ended]:
    viewer, out = session.viewer(), {"stdout": b"", "stderr": b""}
    with trio.fail_after(60):
        while not isinstance(event := await viewer.next(), Ended):
            if isinstance(event, Output):
                out[event.channel] += event.data
    return out["stdout"].decode(), out["stderr"].decode(), event


@asynccontextmanager
async def warming(host: Host, settings: Settings) -> AsyncGenerator[Warm]:
    config = Config(pool=settings)
    async with trio.open_nursery() as nursery:
        pool = Pool(host, config.pool)
        nursery.start_soon(pool.run)
        yield Warm(Registry(host, LANGUAGES, config, nursery, pool=pool), pool)
        nursery.cancel_scope.cancel()


@pytest.fixture
async def warm(host: Host) -> AsyncGenerator[Warm]:
    async with warming(host, Settings(ahead=(), ceiling=2)) as it:
        yield it


HELLO = {
    "python": "import sys\nprint('hello', *sys.argv[1:])\nprint('bad', file=sys.stderr)\nsys.exit(3)",
    "javascript": "console.log('hello', ...process.argv.slice(2));console.error('bad');process.exit(3)",
    "bash": "echo hello $1 $2; echo bad >&2; exit 3",
}


@pytest.mark.parametrize("mode", ["terminal", "split", "pipes"])
@pytest.mark.parametrize("language", HELLO)
async def test_a_run_that_finds_a_box_says_the_same(warm: Warm, language: str, mode: Mode) -> None:
    run = Run(language, {"": HELLO[language].encode()}, args=("a", "b"), mode=mode)
    cold = await warm.ran(run)
    await warm.ready(language, mode if language != "bash" else "terminal")
    before = warm.hits()
    again = await warm.ran(run)
    assert warm.hits() == before + 1
    assert again[:2] == cold[:2]
    assert (again[2].outcome, again[2].code) == (cold[2].outcome, cold[2].code) == ("exited", 3)


async def test_a_compiled_program_in_a_warm_box(warm: Warm) -> None:
    run = Run("c", {"": b'#include <stdio.h>\nint main(void) { puts("hello"); return 3; }'}, mode="pipes")
    await warm.ran(run)
    await warm.ready("c", "terminal")
    out, err, ended = await warm.ran(run)
    assert warm.hits() == 1
    assert (out, err, ended.code) == ("hello\n", "", 3)


@pytest.mark.parametrize(
    "body",
    [
        'System.out.println("hello " + String.join(",", args)); System.exit(3);',
        "int number = undefined;",
    ],
)
async def test_java_compiles_and_runs_in_a_warm_box(warm: Warm, body: str) -> None:
    code = f"public class Main {{ public static void main(String[] args) {{ {body} }} }}"
    run = Run("java", {"": code.encode()}, args=("a", "b"), mode="terminal")
    cold = await warm.ran(run)
    await warm.ready("java", "terminal")
    again = await warm.ran(run)
    assert warm.hits() == 1
    assert again[:2] == cold[:2] != ("", "")
    assert (again[2].outcome, again[2].code) == (cold[2].outcome, cold[2].code)
    assert again[2].outcome == ("exited" if "hello" in body else "compile_error")


async def test_nothing_passes_from_one_warm_box_to_the_next(warm: Warm) -> None:
    """Neither files nor processes nor what an interpreter has in memory, nor what it takes for random."""
    code = (
        "import builtins, os, random, subprocess\n"
        "seen = [os.listdir('/tmp'), os.listdir('/dev/shm'), sorted(os.listdir('.')), hasattr(builtins, 'mark')]\n"
        "print(seen, len([name for name in os.listdir('/proc') if name.isdigit()]))\n"
        "print(hash('x'), random.random())\n"
        "builtins.mark = True\n"
        "for folder in ('/tmp', '/dev/shm', '.'): open(folder + '/mark', 'w').write('x')\n"
        "subprocess.Popen(['sleep', '1000'], start_new_session=True)\n"
    )
    told: list[str] = []
    for _ in range(4):
        await warm.ready("python")
        out, err, ended = await warm.ran(Run("python", {"": code.encode()}, mode="pipes"))
        assert (err, ended.code) == ("", 0)
        state, fresh = out.splitlines()
        assert state == "[[], [], ['main.py'], False] 3"
        told += fresh.split()
    assert warm.hits() == 4
    assert len(set(told)) == 8


async def test_input_keys_and_a_resize_reach_a_program_that_had_waited(warm: Warm) -> None:
    await warm.ready("python", "terminal")
    code = "import os\nname = input('Name: ')\nprint(name, os.get_terminal_size())\ninput()"
    run = Run("python", {"": code.encode()}, mode="terminal")
    session = await warm.registry.start(run)
    viewer, seen = session.viewer(), b""
    with trio.fail_after(30):
        while not isinstance(event := await viewer.next(), Ended):
            if isinstance(event, Output):
                seen += event.data
            if isinstance(event, StateChange) and event.state == "waiting":
                if b"columns" in seen:
                    await session.write(b"\x03")
                else:
                    session.resize(run.window.__class__(50, 132))
                    await session.write(b"Adx\x7fa\r")
    assert warm.hits() == 1
    assert b"Name: Adx\x08 \x08a\r\nAda os.terminal_size(columns=132, lines=50)\r\n^C" in seen
    assert b"KeyboardInterrupt" in seen
    assert event.signal == "INT"


async def test_given_stdin_and_many_files(warm: Warm) -> None:
    await warm.ready("python")
    files = {"": b"import sys, other; print(other.VALUE, sys.stdin.read())", "other.py": b"VALUE = 7"}
    run = Run("python", files, mode="pipes", stdin=b"given")
    out, _, ended = await warm.ran(run)
    assert (out, ended.code, warm.hits()) == ("7 given\n", 0, 1)


async def test_a_file_that_cannot_be_written_is_the_runs_own_error(warm: Warm) -> None:
    await warm.ready("python")
    _, _, ended = await warm.ran(Run("python", {"": b"", "../x": b""}, mode="pipes"))
    assert (ended.outcome, warm.hits()) == ("failed", 1)
    assert "../x" in ended.message


@pytest.mark.parametrize("what", ["program", "init"])
async def test_what_dies_while_it_waits_costs_time_and_nothing_else(warm: Warm, what: str) -> None:
    await warm.ready("python")
    (shelf,) = warm.pool._shelves.values()  # pyright: ignore[reportPrivateUsage]
    ready = shelf.idle[0].ready
    assert ready.box.handles is not None
    if what == "init":
        os.kill(ready.box.handles.init, signal.SIGKILL)
    else:
        with suppress(BrokenBox):  # the pool may take the box down before it answers
            await ready.box.signal(ready.zygotes["program"].process, signal.SIGKILL)
    while ready.box.healthy() and ready.zygotes["program"].waits():
        time.sleep(0.001)
    out, _, ended = await warm.ran(Run("python", {"": b"print('hello')"}, mode="pipes"))
    assert (out, ended.outcome) == ("hello\n", "exited")


async def test_a_box_that_breaks_as_it_is_taken_is_replaced(warm: Warm, monkeypatch: pytest.MonkeyPatch) -> None:
    await warm.ready("python")
    (shelf,) = warm.pool._shelves.values()  # pyright: ignore[reportPrivateUsage]
    box = shelf.idle[0].ready.box
    write_all = box.write_all

    async def too_late(files: dict[str, bytes]) -> None:
        assert box.handles is not None
        os.kill(box.handles.init, signal.SIGKILL)
        await box.ended.wait()
        await write_all(files)

    monkeypatch.setattr(box, "write_all", too_late)
    out, _, ended = await warm.ran(Run("python", {"": b"print('hello')", "other.py": b""}, mode="pipes"))
    assert (out, ended.outcome) == ("hello\n", "exited")
    assert box.ended.is_set()


async def test_more_runs_at_once_than_boxes_wait(warm: Warm) -> None:
    await warm.ready("python")
    answers: list[str] = []

    async def one(number: int) -> None:
        out, _, ended = await warm.ran(Run("python", {"": f"print({number})".encode()}, mode="pipes"))
        assert ended.outcome == "exited"
        answers.append(out)

    async with trio.open_nursery() as nursery:
        for number in range(12):
            nursery.start_soon(one, number)
    assert sorted(answers, key=int) == [f"{number}\n" for number in range(12)]


async def test_limits_of_a_runs_own_make_a_box_of_its_own(warm: Warm) -> None:
    await warm.ready("python")
    _, _, ended = await warm.ran(Run("python", {"": b""}, mode="pipes", limits={"wall": 5}))
    assert (ended.outcome, warm.hits()) == ("exited", 0)


async def test_boxes_wait_from_the_start_for_the_languages_that_are_named(host: Host) -> None:
    async with warming(host, Settings(ahead=("python",), ceiling=1)) as warm:
        with trio.fail_after(30):
            while (stock := warm.stock("python", "terminal")) is None or not stock.idle:
                await trio.sleep(0.01)
        out, _, _ = await warm.ran(Run("python", {"": b"print('hello')"}))
        assert (out, warm.hits()) == ("hello\r\n", 1)
