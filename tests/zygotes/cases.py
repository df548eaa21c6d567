"""The corpora: small programs, each run fresh and by a program that waited, which nobody should be able to tell apart.

A case is a file, or a folder whose main file has the toolchain's own name. Comments that begin with `#:` or `//:` are
TOML and say how it is run:

    modes   in which of terminal, split and pipes; without it those of MODES
    args    its arguments
    env     variables that the client sets
    talk    pairs: when the first has been written, the second is typed. U+0003 is Ctrl+C and U+0004 the end of input,
            which on pipes are SIGINT and the closed pipe; on pipes the input ends after the last answer, but for Ctrl+C
    differs whether no two runs may write the same, as chance has it
"""

import os
import re
import signal
import tomllib
from dataclasses import dataclass
from pathlib import Path

import trio
from msgspec.structs import replace

from runnerd import toolchains
from runnerd.sandbox import procfs
from runnerd.sandbox.box import Box, open_box
from runnerd.sandbox.host import Host
from runnerd.sandbox.process import Process
from runnerd.sandbox.spec import Launch, Limits, Mode
from runnerd.session.kinds import further, launches
from runnerd.session.run import Run, environment
from runnerd.toolchains import Toolchain

CORPUS = Path(__file__).with_name("corpus")
LANGUAGES = toolchains.load()
ADDRESS = re.compile(rb"0x[0-9a-f]{6,16}")
"""What no two starts have in common."""
MODES: dict[str, tuple[Mode, ...]] = {
    "python": ("terminal", "pipes"),
    "javascript": ("terminal", "pipes"),
    "java": ("pipes",),  # each run compiles twice
}
INTERRUPT, END = "\x03", "\x04"
PATIENCE = 60.0


@dataclass(frozen=True)
class Case:
    """`modes` are those it is run in, `run` what is asked for in the first of them."""

    language: str
    name: str
    run: Run
    modes: tuple[Mode, ...]
    talk: tuple[tuple[str, str], ...]
    differs: bool

    def __str__(self) -> str:
        return self.name


@dataclass(frozen=True)
class Step:
    """What one program wrote, with 0x- for every address, and how it ended."""

    stdout: bytes
    stderr: bytes
    code: int | None
    signal: int | None


def cases(language: str) -> list[Case]:
    return [_case(language, path) for path in sorted((CORPUS / language).iterdir())]


def _case(language: str, path: Path) -> Case:
    source = LANGUAGES.get(language).source
    if path.is_dir():
        files = {str(file.relative_to(path)): file.read_bytes() for file in path.rglob("*") if file.is_file()}
    else:
        files = {source: path.read_bytes()}
    told = re.findall(rb"^(?:#|//): (.*)$", files[source], re.MULTILINE)
    how = tomllib.loads(b"\n".join(told).decode())
    return Case(
        language,
        path.name,
        Run(language, files, source, tuple(how.pop("args", ())), env=how.pop("env", {})),
        tuple(how.pop("modes", MODES[language])),
        tuple((after, answer) for after, answer in how.pop("talk", ())),
        how.pop("differs", False),
        **how,
    )


async def transcript(host: Host, case: Case, mode: Mode, *, ahead: bool, widget: bool = False) -> list[Step]:
    """Run a case in a box of its own, step by step. `ahead`: every step that can be is a program that waited there.

    `widget`: its files lie in /tmp/work.
    """
    toolchain = LANGUAGES.get(case.language)
    run = replace(case.run, mode=mode)
    spec = host.spec(Limits(**toolchain.raises), binds=toolchain.binds, widget=widget)
    with trio.fail_after(PATIENCE):
        async with open_box(host, spec) as box:
            return await (_waited if ahead else _fresh)(box, toolchain, run, spec.work, case.talk)


async def _fresh(box: Box, toolchain: Toolchain, run: Run, work: str, talk: tuple[tuple[str, str], ...]) -> list[Step]:
    plan = toolchain.plan(run.files, run.main, run.args, run.mode)
    env = environment(run, plan.env, work)
    await box.write_all(plan.files)
    done: list[Step] = []
    if plan.compile is not None:
        done.append(await converse(box, await box.start(Launch(plan.compile, env, run.mode, work)), ()))
    if not done or done[-1].code == 0:
        done.append(await converse(box, await box.start(Launch(plan.run, env, run.mode, work)), talk))
    return done


async def _waited(box: Box, toolchain: Toolchain, run: Run, work: str, talk: tuple[tuple[str, str], ...]) -> list[Step]:
    plan = toolchain.plan(run.files, run.main, run.args, run.mode)
    waiting = {step: await box.prepare(launch) for step, launch in launches(toolchain, run, work)}
    assert waiting, "none of its programs can be started ahead"
    first = next(iter(waiting.values()))
    file = next(iter(plan.files.items())) if first.writes(plan.files) else None
    if file is None:
        await box.write_all(plan.files)
    done: list[Step] = []
    for step, words in (("compile", plan.compile), ("program", plan.run)):
        if words is None or (done and done[-1].code != 0):
            continue
        waiting[step].go(further(words, waiting[step].launch.argv), run.env, file if waiting[step] is first else None)
        done.append(await converse(box, waiting[step].process, talk if step == "program" else ()))
        assert waiting[step].went()
    for zygote in waiting.values():
        zygote.close()
    return done


async def converse(box: Box, process: Process, talk: tuple[tuple[str, str], ...]) -> Step:
    """Everything that a program writes until its end, while it is answered."""
    written = {"stdout": b"", "stderr": b""}
    more = trio.Event()

    async def collect(channel: str, fd: int) -> None:
        nonlocal more
        while True:
            await trio.lowlevel.wait_readable(fd)
            try:
                data = os.read(fd, 65536)
            except BlockingIOError:
                continue
            except OSError:  # a terminal's end
                return
            if not data:
                return
            written[channel] += data
            more.set()
            more = trio.Event()

    async def answer() -> None:
        told = dict.fromkeys(written, 0)
        for after, text in talk:
            while not any(after.encode() in data[told[channel] :] for channel, data in written.items()):
                await more.wait()
            told = {channel: len(data) for channel, data in written.items()}
            await _type(box, process, text)
        if not talk or talk[-1][1] != INTERRUPT:
            process.close_stdin()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(answer)
        async with trio.open_nursery() as outputs:
            for channel, fd in process.outputs:
                outputs.start_soon(collect, channel, fd)
        nursery.cancel_scope.cancel()
    await process.exited.wait()
    process.close()
    assert process.exit is not None
    stdout, stderr = (ADDRESS.sub(b"0x-", data) for data in written.values())
    return Step(stdout, stderr, process.exit.code, process.exit.signal)


async def _type(box: Box, process: Process, text: str) -> None:
    if text == INTERRUPT:
        await _idle(box)
    if process.mode != "pipes":
        os.write(process.stdin, text.encode())
    elif text == INTERRUPT:
        await box.signal(process, signal.SIGINT)
    elif text == END:
        process.close_stdin()
    else:
        os.write(process.stdin, text.encode())


async def _idle(box: Box) -> None:
    """Until everything in the box is blocked: what is interrupted shows in a traceback."""
    assert box.handles is not None
    proc = box.handles.proc
    looks = 0
    while looks < 3:
        states = {procfs.state(proc, pid, tid) for pid in procfs.processes(proc) for tid in procfs.tasks(proc, pid)}
        looks = looks + 1 if states <= {"S", ""} else 0
        await trio.sleep(0.002)
