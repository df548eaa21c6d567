"""Programs of a space: sessions whose box was there before, and stays. The command lines of its shared terminal."""

import math
import signal
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress

import msgspec
import trio

from runnerd.errors import BoxError, BrokenBox, InitRefused
from runnerd.sandbox.box import Box
from runnerd.sandbox.process import Process
from runnerd.sandbox.spec import BoxSpec, Launch, Outcome
from runnerd.session.box_run import START_SECONDS
from runnerd.session.program import Program
from runnerd.session.run import PATH, Run, check, environment
from runnerd.session.session import Session, Stay
from runnerd.toolchains import Toolchains

ARGV = ("bash", "-c", 'exec bash -c "$0" 2>&1')
"""A terminal of mode `split` neither echoes nor changes what passes; here stderr goes to it as well, in its order."""

TERM = "xterm-256color"

KILL_SECONDS = 5.0
"""A program that was killed ends within that; else its box does."""


class Site(msgspec.Struct, frozen=True):
    """Where the programs of a space run: its box, what they may use, and their variables. `settled` is awaited before
    each starts: what was written to the tree before is there then."""

    box: Box
    spec: BoxSpec
    env: Mapping[str, str]
    settled: Callable[[], Awaitable[None]]


class SpaceRun(Session):
    """`run`, a command of its own, at `site`. `over` is called before its end is told, since the next one may come at
    once. How long it may take, and idle, is the space's to limit. Raises BadRequest for what cannot be a command."""

    def __init__(self, id: str, site: Site, run: Run, over: Callable[[], None]) -> None:
        check(run)
        super().__init__(id, site.spec, run, stay=Stay(detach=math.inf))
        self._box = site.box
        self._site, self._tell_over = site, over

    async def serve(self) -> None:
        """Run it to its end, which is told when this returns. The box goes on, unless it cannot be ended otherwise."""
        box = self._site.box
        try:
            with self._scope:
                await self._site.settled()
                await self._within(box)
        except BoxError as problem:
            if box.ended.is_set():
                self._box_over(box, problem)
            else:
                self.abort(Outcome.FAILED, problem.message)
        self._conclude()

    async def _within(self, box: Box) -> None:
        window = self._window
        process = await self._start(box)
        self._since = trio.current_time()
        program: Program | None = None
        try:
            async with trio.open_nursery() as nursery:
                self._program = program = Program(process, self.feed, nursery)
                if self._window != window:  # it was resized since
                    program.resize(self._window)
                self._begin(box, program, nursery)
                self._tell_started()
                await process.exited.wait()
                nursery.cancel_scope.cancel()
        finally:
            self._program = self._attention = None
            if process.exit is None:
                with trio.CancelScope(shield=True):
                    await kill_tree(box, process)
            if program is not None:
                program.take_rest()
                program.close()
            self._exit = process.exit
            box.release(process)  # hangs up what it has left behind
        if process.exit is None:
            self._box_over(box)
        else:
            self._judge(box, process.exit, Outcome.EXITED)

    async def _start(self, box: Box) -> Process:
        """Not cancelled: the box would keep a program that nobody knows."""
        run, work = self.run, self._site.spec.work
        assert run.argv is not None
        env = environment(run, {"TERM": TERM, **self._site.env}, work)
        launch = Launch(run.argv, env, run.mode, work, self._window)
        with trio.move_on_after(START_SECONDS, shield=True):
            return await box.start(launch)
        box.kill()
        raise BrokenBox(f"the box did not start a shell within {START_SECONDS:g} s")

    def _end_box(self) -> None:
        """It ends with its scope, and the box goes on."""

    def _conclude(self) -> None:
        if self._verdict is not None and self.ended is None:
            self._tell_over()
        super()._conclude()


class ShellRun(SpaceRun):
    """One command line in the shared terminal."""

    def __init__(self, id: str, site: Site, command: str, over: Callable[[], None]) -> None:
        super().__init__(id, site, Run(argv=(*ARGV, command), mode="split"), over)

    async def type(self, data: bytes) -> None:
        """Give the program input. That ends a line which a prompt has begun, as its echo would. Raises as `write`."""
        if self._program is not None and self._program.settle() and self.log.size:
            self._tell_state("waiting")
        await self.write(data)


async def kill_tree(box: Box, process: Process) -> None:
    """End all that it has started, and wait until it is gone."""
    with suppress(BrokenBox):
        try:
            await box.signal(process, signal.SIGKILL, "tree")
        except InitRefused:  # it forks faster than it can be found
            await box.signal(process, signal.SIGKILL, "box")
    with trio.move_on_after(KILL_SECONDS):
        await process.exited.wait()
    if not process.exited.is_set():
        box.kill()


def tools(toolchains: Toolchains) -> tuple[tuple[tuple[str, str], ...], dict[str, str]]:
    """What a shell needs to have all languages of this host at hand: folders to show in the box, as Host.spec takes
    them, and variables."""
    installed = [toolchain for toolchain in toolchains.all() if not toolchains.missing(toolchain)]
    binds = {target: source for toolchain in installed for source, target in toolchain.binds}
    path = ":".join([PATH, *(f"{target}/bin" for target in binds)])
    return tuple((source, target) for target, source in binds.items()), {"PATH": path}
