"""All sessions of this daemon: who is let in, with which limits, and how everything stops."""

import logging
import secrets
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import trio

from runnerd.config import Config, Profile
from runnerd.errors import BadRequest, Busy, NotFound, UnknownLanguage
from runnerd.sandbox.host import Host
from runnerd.sandbox.spec import Outcome
from runnerd.session.kernel import Kernel, Kernels
from runnerd.session.run import Run, check, grant
from runnerd.session.session import Session
from runnerd.toolchains import Plan, Toolchain, Toolchains

log = logging.getLogger("runnerd.session")


@dataclass(frozen=True, slots=True)
class Status:
    """Counts: boxes alive and allowed, runs that wait for one, sessions started and ended (by outcome) so far."""

    boxes: int
    boxes_max: int
    queued: int
    started: int
    ended: Mapping[str, int]
    draining: bool


class Registry:
    """Starts sessions as tasks of `nursery`. One that goes wrong takes down neither the others nor the nursery.

    `linger` is how many seconds an ended session can still be found in `sessions`; `detach` how many one lives on
    after its last viewer left.
    """

    def __init__(
        self,
        host: Host,
        toolchains: Toolchains,
        config: Config,
        nursery: trio.Nursery,
        *,
        linger: float = 0.0,
        detach: float = 0.0,
    ) -> None:
        self.sessions: dict[str, Session] = {}
        self._kernels: set[Kernel] = set()
        self._host, self._toolchains, self._config, self._nursery = host, toolchains, config, nursery
        self._linger, self._detach = linger, detach
        self._boxes = trio.CapacityLimiter(config.boxes.max)
        self._queue: set[trio.CancelScope] = set()
        self._draining = False
        self._empty = trio.lowlevel.ParkingLot()
        self._started = 0
        self._ended: Counter[str] = Counter({outcome.value: 0 for outcome in Outcome})

    async def start(self, run: Run, *, profile: str = "default", kernels: Kernels | None = None) -> Session:
        """Admit a run, in order of arrival. The session is under way when this returns; attach a viewer at once.

        With `kernels`, those of the client's connection, it runs in the one of its language, which is opened when there
        is none: a box of the profile that is counted for as long as it lives.

        Raises Busy (no room, or stopping; the kernel runs something), UnknownLanguage, BadRequest, NotFound for a
        profile, and KernelDied, once, for a kernel that has ended since its last run.
        """
        chosen = self._config.profiles.get(profile)
        if chosen is None:
            raise NotFound(f"there is no profile {profile!r}")
        check(run)
        if kernels is not None:
            return await self._start_in(kernels, run, chosen)
        toolchain, plan = self._plan(run)
        limits = grant(chosen, run.limits, toolchain)
        binds = toolchain.binds if toolchain is not None else ()
        spec = self._host.spec(limits, binds=binds, widget=chosen.widget)
        session_id = self._new_id()
        asked = trio.current_time()
        await self._admit(session_id)
        session = Session(session_id, self._host, spec, run, plan, asked=asked, detach=self._detach)
        self._begin(session, self._leave)
        return session

    async def _start_in(self, kernels: Kernels, run: Run, profile: Profile) -> Session:
        toolchain = self._toolchain(run)
        if toolchain is None or toolchain.kernel is None or run.argv is not None:
            able = ", ".join(one.id for one in self._toolchains.all() if one.kernel is not None)
            raise BadRequest("a session cannot keep the variables of this program", hint=f"languages that can: {able}")
        self._refuse_when_draining()
        limits = grant(profile, run.limits, toolchain)
        asked = trio.current_time()
        kernel = kernels.find(toolchain.id)
        if kernel is not None:
            session = kernel.take(self._new_id(), run, limits, asked)
        else:
            spec = self._host.spec(limits, binds=toolchain.binds, widget=profile.widget)
            kernel = Kernel(self._new_id(), self._host, spec, toolchain, run.mode, profile.idle)
            session = kernel.take(self._new_id(), run, limits, asked)
            kernels.add(kernel)
            try:
                await self._admit(kernel.id)
            except BaseException:
                kernels.discard(kernel)
                raise
            self._kernels.add(kernel)
            self._nursery.start_soon(self._serve_kernel, kernel)
        self._begin(session, lambda _: None)
        return session

    def status(self) -> Status:
        return Status(
            boxes=self._boxes.borrowed_tokens,
            boxes_max=self._config.boxes.max,
            queued=len(self._queue),
            started=self._started,
            ended=dict(self._ended),
            draining=self._draining,
        )

    async def drain(self, deadline: float) -> None:
        """Let nobody in any more, wait up to `deadline` seconds for sessions to end, then end them. Returns when no
        box is left."""
        self._draining = True
        for waiting in self._queue:
            waiting.cancel()
        for kernel in self._kernels:
            kernel.retire()
        with trio.move_on_after(deadline):
            await self._until_empty()
        for session in self.sessions.values():
            session.kill("the daemon stops")
        for kernel in self._kernels:
            kernel.end("the daemon stops")
        await self._until_empty()

    async def _until_empty(self) -> None:
        while self._boxes.borrowed_tokens:
            await self._empty.park()

    def _plan(self, run: Run) -> tuple[Toolchain | None, Plan]:
        toolchain = self._toolchain(run)
        if run.argv is not None:
            env = dict(toolchain.env) if toolchain is not None else {}
            return toolchain, Plan(run.files, None, (*run.argv, *run.args), env)
        assert toolchain is not None
        return toolchain, toolchain.plan(run.files, run.main, run.args, run.mode)

    def _toolchain(self, run: Run) -> Toolchain | None:
        """None for a command of its own. Raises UnknownLanguage."""
        toolchain = self._toolchains.get(run.language) if run.language or run.argv is None else None
        if toolchain is not None and (missing := self._toolchains.missing(toolchain)):
            packages = ", ".join(sorted({need.package for need in missing}))
            raise UnknownLanguage(
                f"{toolchain.name} is not installed on this host", hint=f"its operator can install: {packages}"
            )
        return toolchain

    async def _admit(self, session_id: str) -> None:
        """Take one of the places, waiting for a while when there are others before or no place is free."""
        boxes = self._config.boxes
        self._refuse_when_draining()
        try:
            self._boxes.acquire_on_behalf_of_nowait(session_id)
            return
        except trio.WouldBlock:
            pass
        if len(self._queue) >= boxes.queue:
            raise Busy(
                f"all {boxes.max} boxes are taken, and {boxes.queue} runs wait", retry_after=boxes.queue_wait or 1
            )
        with trio.move_on_after(boxes.queue_wait) as patience:
            self._queue.add(patience)
            try:
                await self._boxes.acquire_on_behalf_of(session_id)
            finally:
                self._queue.discard(patience)
        if patience.cancelled_caught:
            self._refuse_when_draining()
            raise Busy(f"no box became free within {boxes.queue_wait:g} s", retry_after=boxes.queue_wait or 1)
        if self._draining:
            self._leave(session_id)
            self._refuse_when_draining()

    def _refuse_when_draining(self) -> None:
        if self._draining:
            raise Busy("the daemon is stopping", retry_after=self._config.drain.seconds or 1)

    def _leave(self, session_id: str) -> None:
        self._boxes.release_on_behalf_of(session_id)
        self._empty.unpark_all()

    def _new_id(self) -> str:
        return f"{self._config.node}-{secrets.token_hex(10)}"

    def _begin(self, session: Session, leave: Callable[[str], None]) -> None:
        self.sessions[session.id] = session
        self._started += 1
        self._nursery.start_soon(self._serve, session, leave)

    async def _serve_kernel(self, kernel: Kernel) -> None:
        try:
            await kernel.serve()
        except Exception:
            log.exception("kernel failed unexpectedly", extra={"kernel": kernel.id, "language": kernel.toolchain.id})
        finally:
            self._kernels.discard(kernel)
            self._leave(kernel.id)
        log.info("kernel ended", extra={"kernel": kernel.id, "language": kernel.toolchain.id, "reason": kernel.died})

    async def _serve(self, session: Session, leave: Callable[[str], None]) -> None:
        """`leave` gives its place back, if it has one of its own."""
        try:
            await session.serve()
        except Exception:
            fields = {"session": session.id, "language": session.run.language, "outcome": Outcome.FAILED.value}
            log.exception("session failed unexpectedly", extra=fields)
            session.abort(Outcome.FAILED, "something went wrong inside the daemon; its log tells what")
        finally:
            session.abort(Outcome.KILLED, "the daemon has stopped")
            leave(session.id)
            self._record(session)
            if not self._linger:
                del self.sessions[session.id]
        if self._linger:
            await trio.sleep(self._linger)
            del self.sessions[session.id]

    def _record(self, session: Session) -> None:
        ended = session.ended
        assert ended is not None
        self._ended[ended.outcome.value] += 1
        level = logging.WARNING if ended.outcome is Outcome.FAILED else logging.INFO
        log.log(
            level,
            "session ended",
            extra={
                "session": session.id,
                "language": session.run.language,
                "outcome": ended.outcome.value,
                "code": ended.code,
                "signal": ended.signal,
                "reason": ended.message,
                "cpu": round(ended.usage.cpu, 3),
                "memory": ended.usage.memory,
                "wall": round(ended.usage.wall, 3),
            },
        )
