"""One piece of code in a kernel: a session whose box and process were there before, and stay."""

from typing import TYPE_CHECKING

import msgspec
import trio

from runnerd.errors import BrokenBox, InitRefused, KernelDied, RunnerdError
from runnerd.sandbox.spec import BoxSpec, Exit, Outcome
from runnerd.session.control import Begun, Done, Refused
from runnerd.session.program import Program
from runnerd.session.run import Run
from runnerd.session.session import Session, Verdict

if TYPE_CHECKING:
    from runnerd.session.kernel import Inside, Kernel

CPU_SECONDS = 0.1
"""Between looks at the CPU time of a run."""

GRACE_SECONDS = 0.5
"""A process whose control connection has ended is about to end itself, and how it does is worth knowing."""

LOST = "the session's variables are lost"


class Code(msgspec.Struct, frozen=True):
    """What a driver is given, as its kernel's `number`th run: the source, its name, and the whole input if that is
    known. `stdin` None: the terminal."""

    number: int
    source: bytes
    main: str
    stdin: bytes | None


class KernelRun(Session):
    """A run of `kernel`. To clients it is a session like any other.

    Whatever ends it but the code itself, an interrupt of it or a refusal ends the kernel too.
    """

    def __init__(self, id: str, spec: BoxSpec, run: Run, kernel: "Kernel", code: Code, *, asked: float) -> None:
        own = msgspec.structs.replace(run, mode=kernel.mode, stdin=None)
        super().__init__(id, spec, own, asked=asked)
        self._kernel, self._code = kernel, code
        self._early_end = code.stdin is not None  # it is the driver that feeds it
        self._returned = False

    async def serve(self) -> None:
        """Run it to its end, which is told when this returns. The kernel's box goes on."""
        try:
            with self._scope:
                inside = await self._kernel.up()
                self._box = inside.box
                self._note("box")
                await self._within(inside)
            self._conclude()
        except RunnerdError as problem:
            self.abort(Outcome.FAILED, problem.message)

    async def _within(self, inside: "Inside") -> None:
        answer: Done | Refused | None = None
        before = inside.spent()
        self._since = trio.current_time()
        try:
            inside.terminals.restore()
            inside.process.resize(self._window)
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._keep_time)
                nursery.start_soon(self._keep_cpu, inside, before)
                answer = await self._converse(inside, nursery)
                nursery.cancel_scope.cancel()
        finally:
            program, self._program, self._attention = self._program, None, None
            if program is not None:
                program.take_rest()
                program.leave()
            self._exit = Exit(None, None, inside.spent() - before, 0)
        self._settle(inside, answer)

    async def _converse(self, inside: "Inside", nursery: trio.Nursery) -> Done | Refused | None:
        """Give the code to the driver and wait for its end; None when the kernel's process ends first."""
        code, number = self._code, self._code.number
        alive = trio.CancelScope()
        nursery.start_soon(_end_with, inside.process.exited, alive)
        try:
            with alive:
                for path, data in self.run.files.items():
                    if path:
                        await inside.box.write(path, data)
                control = inside.control
                await control.run(number, code.source, code.main, self.run.args, self.run.env, code.stdin)
                message = await control.answer(number)
                if isinstance(message, Begun):
                    self._note("program")
                    self._tell_started()
                    # Reads the terminals from now on: what the code has written by now is not told before its start.
                    self._program = Program(inside.process, self.feed, nursery)
                    self._begin(inside.box, self._program, nursery)
                    message = await control.answer(number)
                if isinstance(message, Begun):
                    raise KernelDied(f"the kernel sent Begun of run {number} twice")
                return message
        except InitRefused as problem:  # a file that cannot be written
            return Refused(number, problem.message)
        except (KernelDied, BrokenBox) as problem:
            with trio.move_on_after(GRACE_SECONDS):
                await inside.process.exited.wait()
            if inside.process.exit is None:
                self._decide(Verdict(Outcome.FAILED, problem.message))
        return None

    async def _keep_cpu(self, inside: "Inside", before: float) -> None:
        limit = self._spec.limits.cpu
        while limit:
            await trio.sleep(CPU_SECONDS)
            if inside.spent() - before > limit:
                self._exceed(Outcome.CPU)

    def _settle(self, inside: "Inside", answer: Done | Refused | None) -> None:
        gone = inside.process.exit
        if answer is not None:
            self._returned = True
            match answer:
                case Refused(message=message):
                    self._decide(Verdict(Outcome.FAILED, message))
                case Done(code=None):
                    self._decide(Verdict(Outcome.SIGNAL, signal="INT"))
                case Done(code=code):
                    self._decide(Verdict(Outcome.EXITED, code=code))
        elif gone is not None:
            assert self._exit is not None
            self._judge(inside.box, msgspec.structs.replace(gone, cpu=self._exit.cpu), Outcome.EXITED)
        else:
            self._box_over(inside.box)

    def _decide(self, verdict: Verdict) -> None:
        if not self._returned:
            by_itself = verdict.outcome is not Outcome.KILLED
            verdict.message = verdict.message or ("the code ended its process" if by_itself else "the run was killed")
            verdict.message = f"{verdict.message}; {LOST}"
        super()._decide(verdict)

    def _end_box(self) -> None:
        if not self._returned and self._verdict is not None:
            self._kernel.end(self._verdict.message.removesuffix(f"; {LOST}"))

    def _conclude(self) -> None:
        if self._verdict is not None:
            self._kernel.done(self)  # before the end is told: the next run may come at once
        super()._conclude()


async def _end_with(event: trio.Event, scope: trio.CancelScope) -> None:
    await event.wait()
    scope.cancel()
