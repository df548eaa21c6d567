"""One command line in the terminal of a space: a session whose box was there before, and stays."""

import math
import signal
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress

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


class ShellRun(Session):
    """`command` in `box`, with variables of its own in `env`. `settled` is awaited before it starts; `over` is called
    before its end is told, since the next one may come at once.

    How long it may take, and idle, is the space's to limit. Raises BadRequest for what cannot be a command.
    """

    def __init__(
        self,
        id: str,
        box: Box,
        spec: BoxSpec,
        command: str,
        env: Mapping[str, str],
        settled: Callable[[], Awaitable[None]],
        over: Callable[[], None],
    ) -> None:
        run = Run(argv=(*ARGV, command), mode="split")
        check(run)
        super().__init__(id, spec, run, stay=Stay(detach=math.inf))
        self._box = box
        whole = environment(run, {"TERM": TERM, **env}, spec.work)
        self._launch = Launch((*ARGV, command), whole, run.mode, spec.work, run.window)
        self._settled, self._tell_over = settled, over

    async def type(self, data: bytes) -> None:
        """Give the program input. That ends a line which a prompt has begun, as its echo would. Raises as `write`."""
        if self._program is not None and self._program.settle() and self.log.size:
            self._tell_state("waiting")
        await self.write(data)

    async def serve(self) -> None:
        """Run it to its end, which is told when this returns. The box goes on, unless it cannot be ended otherwise."""
        box = self._box
        assert box is not None
        try:
            with self._scope:
                await self._settled()
                await self._within(box)
        except BoxError as problem:
            if box.ended.is_set():
                self._box_over(box, problem)
            else:
                self.abort(Outcome.FAILED, problem.message)
        self._conclude()

    async def _within(self, box: Box) -> None:
        process = await self._start(box)
        self._since = trio.current_time()
        program: Program | None = None
        try:
            async with trio.open_nursery() as nursery:
                self._program = program = Program(process, self.feed, nursery)
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
        with trio.move_on_after(START_SECONDS, shield=True):
            return await box.start(self._launch)
        box.kill()
        raise BrokenBox(f"the box did not start a shell within {START_SECONDS:g} s")

    def _end_box(self) -> None:
        """It ends with its scope, and the box goes on."""

    def _conclude(self) -> None:
        if self._verdict is not None and self.ended is None:
            self._tell_over()
        super()._conclude()


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
