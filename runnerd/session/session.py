"""What all sessions have: a program's input and output, timers, an end. box_run.py, kernel_run.py: where it runs."""

import math
import signal

import msgspec
import trio

from runnerd.errors import BadRequest, BoxError, BrokenBox
from runnerd.sandbox.box import Box
from runnerd.sandbox.keeper import Used
from runnerd.sandbox.spec import BoxSpec, Exit, Outcome, Usage, Window
from runnerd.session.attention import Attention
from runnerd.session.program import INPUT_MAX, Program
from runnerd.session.run import Run
from runnerd.session.viewer import Ended, Feed, Started, State, StateChange, Viewer

COMPILE_SECONDS = 60.0
"""Wall time of the compile step, beside the program's own."""

_CTRL_C = b"\x03"

_MESSAGES = {
    Outcome.WALL: "the program ran for longer than {wall:g} s",
    Outcome.IDLE: "there was no input or output for {idle:g} s",
    Outcome.CPU: "the program used more than {cpu:g} s of CPU time",
    Outcome.MEMORY: "the program used more than {memory} bytes of memory",
    Outcome.PROCESSES: "the program started more than {processes} processes",
    Outcome.OUTPUT: "the program wrote more than {output} bytes",
}


class Stay(msgspec.Struct, frozen=True):
    """What becomes of a session without its client, in seconds: how long its program waits for a first viewer before it
    starts, how long it goes on after the last one left, and how long its end can still be found."""

    hold: float = 0.0
    detach: float = 0.0
    linger: float = 0.0


class Verdict(msgspec.Struct):
    """How the session ends; the first one counts."""

    outcome: Outcome
    message: str = ""
    code: int | None = None
    signal: str | None = None


class Session:
    """What a client starts, watches and leaves. `serve` runs it; everything else may be called at any time.

    `state` is created, running, waiting (for input), and at the end finished (by itself) or terminated (by a limit, a
    client or a failure); `over` is set then. `asked` is trio's time of the request.
    """

    def __init__(
        self,
        id: str,
        spec: BoxSpec,
        run: Run,
        *,
        asked: float | None = None,
        stay: Stay | None = None,
    ) -> None:
        self.id = id
        self.run = run
        self.state: State = "created"
        self.ended: Ended | None = None
        self.over = trio.Event()
        self._asked = trio.current_time() if asked is None else asked
        self.feed = Feed(spec.limits.output, lambda: self._exceed(Outcome.OUTPUT), self._deserted)
        self.log = self.feed.log
        self._spec = spec
        self.stay = stay or Stay()
        self._watched = trio.Event()
        self._scope = trio.CancelScope()
        self._nap: trio.CancelScope | None = None
        self._begun, self._running = trio.Event(), trio.Event()
        self._verdict: Verdict | None = None
        self._box: Box | None = None
        self._program: Program | None = None
        self._attention: Attention | None = None
        self._compiling = False
        self._early = bytearray()
        self._early_end = False
        self._window = run.window
        self._leave_at = math.inf
        self._since = math.inf
        self._exit: Exit | None = None
        self._times: dict[str, float] = {}

    @property
    def started(self) -> Started | None:
        return self.feed.started

    # --- what clients ask ----------------------------------------------------------------------------------------

    def viewer(self, offset: int = 0) -> Viewer:
        """Attach a reader of everything from `offset` on. Close it to detach."""
        self._leave_at = math.inf
        self._watched.set()
        return self.feed.viewer(offset)

    async def write(self, data: bytes, reader: Viewer | None = None) -> None:
        """Give the program input; what comes before it runs is kept for it, but Ctrl+C ends a compiler already.

        Does not wait for the program to read. `reader` is not woken for the echo, which is logged before this returns:
        poll it. Raises BadRequest with code `input_overflow` (nothing was taken) or `input_closed`. After the end
        nothing happens.
        """
        if not data or self.ended is not None:
            return
        if self._program is None or self._compiling:
            self._write_early(data)
            if self.run.mode == "terminal" and _CTRL_C in data and self._program is not None:
                await self.signal("INT")
            return
        self.feed.touch()
        if _CTRL_C in data and self._program.interrupts(_CTRL_C):
            self.feed.overtake()
        if self.state == "waiting" and self._attention is not None:
            self._attention.input(data)
        self._program.write(data, reader)

    async def room(self) -> None:
        """Wait until half of the input that can wait is free, or it has ended: for callers that can be made to."""
        if len(self._early) > INPUT_MAX // 2:
            await self._running.wait()
        if self._program is not None:
            await self._program.room()

    def close_input(self) -> None:
        """The program sees the end of its input, after all that was written."""
        self._early_end = True
        if self._program is not None and not self._compiling:
            self.feed.touch()
            self._program.close_input()

    def resize(self, window: Window) -> None:
        """Change the size of the program's terminals. Raises BadRequest."""
        if not (1 <= window.rows <= 0xFFFF and 1 <= window.cols <= 0xFFFF):
            raise BadRequest(f"window: {window.rows} x {window.cols} is not between 1 and 65535")
        self._window = window
        if self._program is not None:
            self._program.resize(window)

    async def signal(self, name: str) -> None:
        """Signal the foreground process group, by a name without SIG. Waits until something runs. Raises BadRequest."""
        try:
            number = signal.Signals[f"SIG{name}"]
        except KeyError:
            raise BadRequest(f"signal {name!r} is not known", hint="names are as in INT, TERM, KILL") from None
        await self._begun.wait()
        if self._box is not None and self._program is not None:
            if number == signal.SIGINT and self.run.mode != "pipes":  # whose bytes are counted on
                self.feed.overtake()
            try:
                await self._box.signal(self._program.process, number, "foreground")
            except BrokenBox:
                return  # it ended meanwhile, and with it the program

    def kill(self, message: str = "") -> None:
        """End it at once. Does not wait."""
        self._decide(Verdict(Outcome.KILLED, message))

    # --- its life --------------------------------------------------------------------------------------------------

    async def serve(self) -> None:
        """Run it to its end, which is told when this returns."""
        raise NotImplementedError

    def abort(self, outcome: Outcome, message: str) -> None:
        """Tell its end, whatever became of `serve`; unless it has ended."""
        self._decide(Verdict(outcome, message))
        self._conclude()

    def _begin(self, box: Box, program: Program, nursery: trio.Nursery) -> None:
        """The program itself runs: it gets what was written early, and its waiting is told."""
        self._running.set()
        self.feed.touch()
        early = (self.run.stdin or b"") + self._early
        self._early.clear()
        if early:
            program.write(early, bounded=False)
        if self.run.stdin is not None or self._early_end:
            program.close_input()
        self._attend(box, program, nursery)

    def _attend(self, box: Box, program: Program, nursery: trio.Nursery) -> None:
        """Tell when the program waits for input."""
        if program.process.mode != "pipes" and box.handles is not None:
            self._attention = Attention(box.handles, self.feed, program, self._tell_state)
            nursery.start_soon(self._attention.run)

    def _write_early(self, data: bytes) -> None:
        if self._early_end:
            raise BadRequest("the program's input has been closed", code="input_closed")
        if len(self._early) + len(data) > INPUT_MAX:
            raise BadRequest(f"the program does not run yet, and {INPUT_MAX} bytes can wait", code="input_overflow")
        self._early += data

    # --- timers ----------------------------------------------------------------------------------------------------

    async def _keep_time(self) -> None:
        limits = self._spec.limits
        wall = COMPILE_SECONDS if self._compiling else limits.wall
        idle = 0.0 if self._compiling else limits.idle
        while True:
            ends = {
                Outcome.WALL: self._since + (wall or math.inf),
                Outcome.IDLE: self.feed.active + (idle or math.inf),
                Outcome.KILLED: self._leave_at,
            }
            outcome = min(ends, key=lambda name: ends[name])
            if ends[outcome] <= trio.current_time():
                break
            with trio.CancelScope(deadline=ends[outcome]) as self._nap:
                await trio.sleep_forever()
        if outcome is Outcome.KILLED:
            self.kill("nobody is attached")
        elif self._compiling:
            self._decide(Verdict(outcome, f"compiling took longer than {wall:g} s"))
        else:
            self._exceed(outcome)

    def _deserted(self) -> None:
        self._leave_at = trio.current_time() + self.stay.detach
        if not self.stay.detach:
            self.kill("nobody is attached")
        elif self._nap is not None:
            self._nap.deadline = min(self._nap.deadline, self._leave_at)

    # --- its end ---------------------------------------------------------------------------------------------------

    def _exceed(self, outcome: Outcome) -> None:
        limits = self._spec.limits
        values = {name: getattr(limits, name) for name in ("wall", "idle", "cpu", "memory", "processes", "output")}
        message = _MESSAGES[outcome].format(**values)
        if outcome is not Outcome.PROCESSES and self._box is not None and self._box.short_of_processes():
            message += f"; {self._refused()}"
        self._decide(Verdict(outcome, message))

    def _refused(self) -> str:
        return f"it was refused more than {self._spec.limits.processes} processes"

    def _box_over(self, box: Box, problem: BoxError | None = None) -> None:
        """The box ended before the program did."""
        if box.exceeded is not None:
            self._exceed(box.exceeded)
        else:
            told = box.failure or problem
            self._decide(Verdict(Outcome.FAILED, told.message if told is not None else "the box has ended"))

    def _judge(self, box: Box, done: Exit, outcome: Outcome) -> None:
        """The process ended by itself, or by a limit that the kernel holds. `outcome` when it exited."""
        if box.exceeded is not None:
            self._exceed(box.exceeded)
            return
        limit = self._spec.limits.cpu
        spent = bool(limit) and done.cpu >= limit
        by_cpu = done.signal == signal.SIGXCPU or (
            spent and (done.signal == signal.SIGKILL or done.code == 128 + signal.SIGXCPU)
        )
        if by_cpu:
            self._exceed(Outcome.CPU)
            return
        failed = done.code != 0 and box.short_of_processes()
        message = self._refused() if failed else ""
        if done.signal is None:
            self._decide(Verdict(outcome, message, code=done.code))
        else:
            ended = Outcome.SIGNAL if outcome is Outcome.EXITED else outcome
            self._decide(Verdict(ended, message, signal=_signal_name(done.signal)))

    def _decide(self, verdict: Verdict) -> None:
        if self._verdict is not None:
            return
        self._verdict = verdict
        self._scope.cancel()
        self._end_box()

    def _end_box(self) -> None:
        if self._box is not None:
            self._box.kill()

    def _conclude(self) -> None:
        """Tell the end that was decided, once."""
        verdict = self._verdict
        if verdict is None or self.ended is not None:
            return
        self._note("end")
        now, done = trio.current_time(), self._exit
        used = self._box.used() if self._box is not None else Used()
        usage = Usage(
            cpu=done.cpu if done is not None else used.cpu,
            memory=max(done.memory if done is not None else 0, used.peak),
            wall=max(0.0, now - self._since),
        )
        if self.feed.first_output is not None:
            self._times["output"] = round((self.feed.first_output - self._asked) * 1000, 3)
        by_itself = verdict.outcome in (Outcome.EXITED, Outcome.SIGNAL, Outcome.COMPILE_ERROR)
        self.state = "finished" if by_itself else "terminated"
        self.ended = Ended(verdict.outcome, verdict.code, verdict.signal, verdict.message, usage, self._times)
        self._begun.set()
        self._running.set()
        self.feed.mark(self.ended)
        self.over.set()

    # --- what viewers are told -------------------------------------------------------------------------------------

    def _tell_started(self) -> None:
        if not self._begun.is_set():
            self._begun.set()
            self.state = "running"
            self.feed.start(Started(self.id, self.run.language, self.run.mode, dict(self._times)))

    def _tell_state(self, state: State) -> None:
        if self.state != state and self.ended is None:
            self.state = state
            self.feed.mark(StateChange(state))

    def _note(self, step: str) -> None:
        self._times[step] = round((trio.current_time() - self._asked) * 1000, 3)


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name.removeprefix("SIG")
    except ValueError:
        return str(number)
