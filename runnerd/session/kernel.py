"""Kernels: a program that keeps variables between pieces of code, in a box that lives on. See docs/kernels.md."""

import errno
import math
import socket
from contextlib import AsyncExitStack

import msgspec
import trio

from runnerd.errors import BadRequest, BoxError, Busy, InitRefused, KernelDied, RunnerdError
from runnerd.sandbox import procfs
from runnerd.sandbox.accounting import CpuClock
from runnerd.sandbox.box import Box, open_box
from runnerd.sandbox.host import Host
from runnerd.sandbox.process import Process
from runnerd.sandbox.spec import BoxSpec, Launch, Limits, Mode
from runnerd.session.box_run import START_SECONDS
from runnerd.session.control import Control
from runnerd.session.kernel_run import Code, KernelRun
from runnerd.session.run import Run, environment
from runnerd.session.terminals import Terminals
from runnerd.toolchains import Toolchain

SOCKET = "/tmp/.kernel"
"""Where a driver listens, in its box, until the daemon has connected: before there is any code."""

DIAL_SECONDS = (0.002, 0.005, 0.01)
"""Between attempts to reach a driver that starts; the last one goes on."""


class Inside:
    """What a kernel's runs work with: its box, the driver's process, the connection to it."""

    def __init__(self, box: Box, process: Process, control: Control) -> None:
        self.box, self.process, self.control = box, process, control
        self.terminals = Terminals(process)
        self._clock = CpuClock()

    def spent(self) -> float:
        """CPU seconds of the whole box so far."""
        if self.box.handles is None:
            return 0.0
        proc = self.box.handles.proc
        stats = {pid: stat for pid in procfs.processes(proc) if (stat := procfs.stat(proc, pid)) is not None}
        return self._clock.add(stats) if stats else self._clock.seconds

    def close(self) -> None:
        self.terminals.close()
        self.control.close()


class Kernel:
    """One box with one driver, for one language of one connection. `serve` runs it.

    `died` says why it has ended; "" while it lives. `idle` is how many seconds it lives on between runs (0: for ever).
    """

    def __init__(self, id: str, host: Host, spec: BoxSpec, toolchain: Toolchain, mode: Mode, idle: float) -> None:
        self.id, self.toolchain = id, toolchain
        self.mode: Mode = "split" if mode == "pipes" else mode
        self.died = ""
        self.runs = 0
        self._host = host
        self._idle = idle
        # Time, CPU and output are limits of each run; idle time that between runs.
        self._spec = msgspec.structs.replace(spec, limits=msgspec.structs.replace(spec.limits, cpu=0.0))
        self._run: KernelRun | None = None
        self._free = trio.Event()
        self._up = trio.Event()
        self._inside: Inside | None = None
        self._box: Box | None = None
        self._life, self._rest = trio.CancelScope(), trio.CancelScope()
        self._retiring = False

    # --- what the registry and runs ask ----------------------------------------------------------------------------

    def take(self, id: str, run: Run, limits: Limits, asked: float) -> KernelRun:
        """The next run, which must then be served. Raises Busy while another one goes on, BadRequest."""
        if self._run is not None:
            raise Busy(f"the session's {self.toolchain.name} runs something already", retry_after=1.0)
        if run.stdin is None and run.mode not in ("pipes", self.mode):
            raise BadRequest(f"mode: this session runs in mode {self.mode}", hint="it was chosen by its first run")
        named = {path or self.toolchain.source: data for path, data in run.files.items()}
        main = self.toolchain.main(named, run.main)
        self.runs += 1
        spec = msgspec.structs.replace(self._spec, limits=limits)
        code = Code(self.runs, named[main], main, run.stdin)
        self._run = KernelRun(id, spec, run, self, code, asked=asked)
        self._free = trio.Event()
        self._rest.deadline = math.inf
        return self._run

    def done(self, run: KernelRun) -> None:
        """A run has let go of it."""
        if self._run is run:
            self._run = None
            self._free.set()
            idle = 0.0 if self._retiring else self._idle or math.inf
            self._rest.deadline = trio.current_time() + idle

    async def up(self) -> Inside:
        """Wait until code can be run. Raises KernelDied with the reason when that does not come."""
        await self._up.wait()
        if self._inside is None or self.died:
            raise KernelDied(self.died)
        return self._inside

    def end(self, reason: str) -> None:
        """End it at once, and its run if there is one. Does not wait."""
        self.died = self.died or reason
        if self._box is not None:
            self._box.kill()
        self._life.cancel()
        if self._run is not None:
            self._run.kill(reason)

    def retire(self) -> None:
        """End it when its run has come to its end: at once when there is none."""
        self._retiring = True
        if self._run is None:
            self.end("the daemon stops")

    # --- its life --------------------------------------------------------------------------------------------------

    async def serve(self) -> None:
        """Run it to its end. Returns when its box is gone."""
        try:
            with self._life:
                async with open_box(self._host, self._spec) as self._box:
                    await self._live(self._box)
        except RunnerdError as problem:
            self.died = self.died or problem.message
        finally:
            self.died = self.died or "the daemon has stopped"
            self._up.set()

    async def _live(self, box: Box) -> None:
        async with AsyncExitStack() as stack:
            with trio.move_on_after(START_SECONDS) as patience:
                process = await box.start(self._launch())
                stack.callback(process.close)
                inside = Inside(box, process, Control(await _dial(box, process)))
                stack.callback(inside.close)
                stack.push_async_callback(self._let_run_end)
                self._inside = inside
                self._up.set()
                patience.deadline = math.inf
                with self._rest:
                    await process.exited.wait()
                    await self._let_run_end()  # which tells how
                    self.died = self.died or _how_it_ended(box, process)
                if self._rest.cancelled_caught:
                    self.end("the daemon stops" if self._retiring else f"no run came for {self._idle:g} s")
            if patience.cancelled_caught:
                raise BoxError(f"the {self.toolchain.name} kernel did not start within {START_SECONDS:g} s")

    async def _let_run_end(self) -> None:
        """A run that goes on sees the end by itself, and works with descriptors that are closed next."""
        if self._run is not None:
            with trio.CancelScope(shield=True):
                await self._free.wait()

    def _launch(self) -> Launch:
        assert self.toolchain.kernel is not None
        argv = tuple(word.replace("{socket}", SOCKET) for word in self.toolchain.kernel.run)
        work = self._spec.work
        return Launch(
            argv, environment(Run(mode=self.mode), self.toolchain.environment(self.mode), work), self.mode, work
        )


def _how_it_ended(box: Box, process: Process) -> str:
    if box.exceeded is not None:
        return f"it was over its limit of {box.exceeded.value}"
    if process.exit is not None:
        how, done = process.exit, "its process ended"
        return f"{done} with code {how.code}" if how.signal is None else f"{done} by signal {how.signal}"
    return box.failure.message if box.failure is not None else "its box has ended"


async def _dial(box: Box, process: Process) -> socket.socket:
    """Connect to a driver as soon as it listens. Raises BoxError when it has ended."""
    attempt = 0
    while True:
        try:
            return await box.dial_unix(SOCKET)
        except InitRefused as problem:
            if problem.errno not in (errno.ENOENT, errno.ECONNREFUSED):
                raise
        if process.exited.is_set():
            raise BoxError("the kernel ended before it listened")
        await trio.sleep(DIAL_SECONDS[min(attempt, len(DIAL_SECONDS) - 1)])
        attempt += 1


class Kernels:
    """The kernels of one connection, one for each language. `close` when the connection ends."""

    def __init__(self) -> None:
        self._by_language: dict[str, Kernel] = {}
        self._closed = False

    def find(self, language: str) -> Kernel | None:
        """The living one. Raises KernelDied, once, for one that has ended after it had run something."""
        kernel = self._by_language.get(language)
        if kernel is None or not kernel.died:
            return kernel
        del self._by_language[language]
        if kernel.runs:
            raise KernelDied(
                f"the {kernel.toolchain.name} variables of this session are lost: {kernel.died}",
                hint="the next run begins anew",
            )
        return None

    def add(self, kernel: Kernel) -> None:
        self._by_language[kernel.toolchain.id] = kernel
        if self._closed:
            kernel.end("its connection has ended")

    def discard(self, kernel: Kernel) -> None:
        if self._by_language.get(kernel.toolchain.id) is kernel:
            del self._by_language[kernel.toolchain.id]

    def close(self) -> None:
        """End them all. Does not wait."""
        self._closed = True
        for kernel in self._by_language.values():
            kernel.end("its connection has ended")
