"""A session in a box of its own: compile if need be, then run."""

import signal
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager

import trio

from runnerd.errors import BoxError, BrokenBox, RunnerdError
from runnerd.sandbox.box import Box
from runnerd.sandbox.pool import Ready
from runnerd.sandbox.process import Process
from runnerd.sandbox.spec import BoxSpec, Exit, Launch, Outcome
from runnerd.sandbox.zygote import Zygote
from runnerd.session.compiled import Spared
from runnerd.session.kinds import further
from runnerd.session.output import OutputChannel
from runnerd.session.program import Program
from runnerd.session.run import Run, environment
from runnerd.session.session import Session, Stay
from runnerd.toolchains import Plan

START_SECONDS = 15.0
"""A program that a box has not started by then never will be."""

DRAIN_SECONDS = 0.1
"""How long a pipe that something else keeps open delays the end of a program."""

Output = tuple[tuple[OutputChannel, bytes], ...]

Open = Callable[[], AbstractAsyncContextManager[Ready]]
"""Gives a box for as long as a block runs."""


class _NotBegun(Exception):
    """What had waited for this run is gone, and nothing of the run has happened."""


class BoxRun(Session):
    """A session that is over with its box. `spec` is the box's; `spared` is where its compile step may be kept."""

    def __init__(
        self,
        id: str,
        open: Open,
        spec: BoxSpec,
        run: Run,
        plan: Plan,
        *,
        asked: float | None = None,
        stay: Stay | None = None,
        spared: Spared | None = None,
    ) -> None:
        super().__init__(id, spec, run, asked=asked, stay=stay)
        self._open, self._plan, self._spared = open, plan, spared
        self._compiling = plan.compile is not None
        self._began = False

    async def serve(self) -> None:
        """Returns when the box is gone, which is after `ended` was told."""
        try:
            while not await self._in_a_box():
                pass
        except RunnerdError as problem:
            self.abort(Outcome.FAILED, problem.message)

    async def _in_a_box(self) -> bool:
        """False when a box that had waited, or what waited in it, broke before the run began: then another will do."""
        async with self._open() as ready:
            self._box = ready.box
            self._note("box")
            try:
                with self._scope:
                    await self._hold()
                    await self._steps(ready)
            except _NotBegun:
                if self._verdict is None:
                    self._scope = trio.CancelScope()
                    return False
            self._conclude()
        return True

    async def _hold(self) -> None:
        """The box is made meanwhile; the client's time begins when it comes."""
        if self.stay.hold:
            with trio.move_on_after(self.stay.hold):
                await self._watched.wait()
            self._asked = trio.current_time()
            self.feed.touch()

    async def _steps(self, ready: Ready) -> None:
        box = ready.box
        files: dict[str, bytes] | None = self._plan.files
        try:
            before = await self._spare(ready)
            if self._plan.compile is not None and before is None:
                done = await self._step(ready, self._plan.compile, files, "compile")
                if done is None:
                    self._box_over(box)
                    return
                if done.code != 0:
                    self._judge(box, done, Outcome.COMPILE_ERROR)
                    return
                if self._spared is not None and self._window == self.run.window:
                    await self._spared.fill(box, self.log)
                files = None
            self._compiling = False
            done = await self._step(ready, self._plan.run, files, "program", before or ())
            if done is None:
                self._box_over(box)
            else:
                self._judge(box, done, Outcome.EXITED)
        except BrokenBox as problem:
            if ready.warm and not self._began and box.exceeded is None:
                raise _NotBegun from problem
            self._box_over(box, problem)
        except BoxError as problem:
            self._box_over(box, problem)

    async def _spare(self, ready: Ready) -> Output | None:
        """What a compile step wrote that need not be run, since what it made is in the box now."""
        if self._spared is None or self._window != self.run.window:  # it was resized since
            return None
        with trio.move_on_after(START_SECONDS):
            entry = await self._spared.spare(ready.box)
            if entry is None:
                return None
            if (compiler := ready.zygotes.pop("compile", None)) is not None:  # the program should be alone
                await ready.box.signal(compiler.process, signal.SIGKILL, "tree")
                await compiler.process.exited.wait()
                ready.box.release(compiler.process)
                compiler.process.close()
            return entry.output
        raise BoxError(f"the box did not come up within {START_SECONDS:g} s")

    async def _step(
        self, ready: Ready, argv: tuple[str, ...], files: dict[str, bytes] | None, name: str, before: Output = ()
    ) -> Exit | None:
        """Run one process to its end; None when the box ended first. Its output is in the log then, all of it, after
        what came `before`."""
        box = ready.box
        process: Process | None = None
        zygote = ready.zygotes.pop(name, None)
        with trio.move_on_after(START_SECONDS):
            process = await self._start(ready.box, zygote, argv, files)
        if process is None:
            raise BoxError(f"the box did not start {argv[0]} within {START_SECONDS:g} s")
        self._note(name)
        self._since = trio.current_time()
        self._exit, written = None, self.log.size
        program: Program | None = None
        try:
            async with trio.open_nursery() as nursery:
                self._program = program = Program(process, self.feed, nursery)
                for channel, data in before if self.log.size == 0 else ():  # not once more in another box
                    self.feed.append(channel, data)
                if name == "program":
                    self._begin(box, program, nursery)
                elif process.mode == "pipes":
                    program.close_input()
                self._tell_started()
                nursery.start_soon(self._keep_time)
                await process.exited.wait()
                if process.mode == "pipes":
                    with trio.move_on_after(DRAIN_SECONDS):
                        await program.drained.wait()
                program.take_rest()
                self._exit = process.exit
                if name == "program" and process.exit is not None and not self._unused(zygote, process, written):
                    # At once: what is left to do here is nothing that a client waits for.
                    self._judge(box, process.exit, Outcome.EXITED)
                    self._conclude()
                nursery.cancel_scope.cancel()
        finally:
            self._program = self._attention = None
            self._exit = process.exit
            if program is not None:
                program.take_rest()
                program.close()
        if self._unused(zygote, process, written):
            return await self._step(ready, argv, files, name, before)  # anew: nothing of the run has happened
        self._began = True
        if name == "compile":
            box.release(process)
        return process.exit

    def _unused(self, zygote: Zygote | None, process: Process, written: int) -> bool:
        """Whether what waited was killed before it went on; up to then there were so many bytes of output."""
        killed = process.exit is None or process.exit.signal == signal.SIGKILL
        return zygote is not None and killed and self.log.size == written and not zygote.went()

    async def _start(
        self, box: Box, zygote: Zygote | None, argv: tuple[str, ...], files: dict[str, bytes] | None
    ) -> Process:
        """The process that waits for this step, or a new one."""
        if zygote is not None:
            file = next(iter(files.items())) if files and zygote.writes(files) else None
            if files and file is None:
                await box.write_all(files)
            if self._window != zygote.launch.window:
                zygote.process.resize(self._window)
            if zygote.go(further(argv, zygote.launch.argv), self.run.env, file):
                return zygote.process
        work = self._spec.work
        launch = Launch(argv, environment(self.run, self._plan.env, work), self.run.mode, work, self._window)
        process = await box.start(launch, files)
        self._began = True
        return process
