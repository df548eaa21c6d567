"""All sessions of this daemon: who is let in, with which limits, and how everything stops."""

import logging
import secrets
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from functools import partial

import msgspec
import trio

from runnerd.config import Config, Profile
from runnerd.errors import BadRequest, NotFound, UnknownLanguage
from runnerd.sandbox.box import open_box
from runnerd.sandbox.host import Host
from runnerd.sandbox.pool import Kind, Pool, Stock, cold
from runnerd.sandbox.spec import BoxSpec, Launch, Outcome
from runnerd.session.box_run import BoxRun, Open
from runnerd.session.cache import Cache
from runnerd.session.compiled import Spared, is_volatile, key, made_by
from runnerd.session.kernel import Kernel, Kernels
from runnerd.session.kinds import kind_for
from runnerd.session.observer import Watches
from runnerd.session.places import Places
from runnerd.session.run import Run, check, environment, grant
from runnerd.session.session import Session, Stay
from runnerd.session.shell import tools
from runnerd.session.space import Space
from runnerd.toolchains import Plan, Toolchain, Toolchains

log = logging.getLogger("runnerd.session")

EVERYBODY = ""
"""The owner of what is kept for all."""


class Status(msgspec.Struct, frozen=True):
    """Counts: boxes alive and allowed, runs that wait for one, sessions started and ended (by outcome) so far, compile
    steps that were spared and that were not."""

    boxes: int
    boxes_max: int
    queued: int
    started: int
    ended: Mapping[str, int]
    draining: bool
    spared: int = 0
    compiled: int = 0
    stocks: Sequence[Stock] = ()


class Registry:
    """Starts sessions as tasks of `nursery`. One that goes wrong takes down neither the others nor the nursery.

    `pressed` says what the host is short of; while it is not "", new runs wait. Without a `pool` all boxes are
    cold.
    """

    def __init__(
        self,
        host: Host,
        toolchains: Toolchains,
        config: Config,
        nursery: trio.Nursery,
        *,
        pressed: Callable[[], str] = lambda: "",
        pool: Pool | None = None,
    ) -> None:
        self.sessions: dict[str, Session] = {}
        self.spaces: set[Space] = set()
        self._watches = Watches()
        self._kernels: set[Kernel] = set()
        self._host, self._toolchains, self._config, self._nursery = host, toolchains, config, nursery
        self._places = Places(config, pressed)
        self._pool = pool
        self._cache = Cache(host.state / "cache" / "compiled", config.cache.size) if host.state is not None else None
        self._keep_ahead()
        self._started = 0
        self._ended: Counter[str] = Counter({outcome.value: 0 for outcome in Outcome})

    def new_id(self) -> str:
        """An id that no session has, and that nobody can guess: 128 bits."""
        return f"{self._config.node}-{secrets.token_hex(16)}"

    async def start(
        self,
        run: Run,
        *,
        profile: str = "default",
        session_id: str | None = None,
        stay: Stay | None = None,
        kernels: Kernels | None = None,
        owner: str | None = None,
    ) -> Session:
        """Admit a run, in order of arrival. The session is under way when this returns; attach a viewer at once.

        What compiling makes is kept for runs of the same `owner`; None: for nobody, unless all share it.

        `session_id` is one of `new_id`, for who must know it before. With `kernels`, those of the client's connection,
        it runs in the one of its language, which is opened when there is none: a box of the profile that is counted for
        as long as it lives.

        Raises Busy (no room, or stopping; the kernel runs something), UnknownLanguage, BadRequest, NotFound for a
        profile, and KernelDied, once, for a kernel that has ended since its last run.
        """
        chosen = self.profile(profile)
        check(run)
        if kernels is not None:
            return await self._start_in(kernels, run, chosen, session_id or self.new_id())
        toolchain, plan = self._plan(run)
        spec = self._spec(chosen, run, toolchain)
        session_id = session_id or self.new_id()
        asked = trio.current_time()
        await self._places.take(session_id)
        kind = kind_for(toolchain, spec, profile, run)
        spared = self._spared(toolchain, run, plan, spec.work, owner)
        opening = self._opening(kind, run)
        session = BoxRun(session_id, opening, spec, run, plan, asked=asked, stay=stay, spared=spared)
        self._begin(session, self._places.give_back)
        return session

    async def _start_in(self, kernels: Kernels, run: Run, profile: Profile, session_id: str) -> Session:
        toolchain = self._toolchain(run)
        if toolchain is None or toolchain.kernel is None or run.argv is not None:
            able = ", ".join(one.id for one in self._toolchains.all() if one.kernel is not None)
            raise BadRequest("a session cannot keep the variables of this program", hint=f"languages that can: {able}")
        self._places.refuse_when_closed()
        limits = grant(profile, run.limits, toolchain)
        asked = trio.current_time()
        kernel = kernels.find(toolchain.id)
        if kernel is not None:
            session = kernel.take(session_id, run, limits, asked)
        else:
            spec = self._spec(profile, run, toolchain)
            kernel = Kernel(self.new_id(), self._host, spec, toolchain, run.mode, profile.idle)
            session = kernel.take(session_id, run, limits, asked)
            kernels.add(kernel)
            try:
                await self._places.take(kernel.id)
            except BaseException:
                kernels.discard(kernel)
                raise
            self._kernels.add(kernel)
            self._nursery.start_soon(self._serve_kernel, kernel)
        self._begin(session, lambda _: None)
        return session

    async def open_space(self, space_id: str, *, profile: str, owner: str | None) -> Space:
        """Admit a space, as a run is admitted, and wait until its box is there. `space_id` is one of `new_id`; `owner`
        is the public key of who makes it.

        Raises Busy, NotFound for a profile, SpaceEnded when its box does not come up.
        """
        binds, env = tools(self._toolchains)
        spec = self._host.spec(grant(self.profile(profile), {}, None), binds=binds)
        await self._places.take(space_id)
        space = Space(
            space_id, partial(open_box, self._host, spec), spec, self._config.spaces, owner, env, self._watches
        )
        self.spaces.add(space)
        self._watches.start(self._nursery)
        self._nursery.start_soon(self._serve_space, space)
        try:
            await space.up()
        except trio.Cancelled:
            space.kill("nobody waits for it any more")
            raise
        return space

    def find_space(self, key: str) -> Space:
        """The space that this join key opens. Raises NotFound."""
        for space in self.spaces:
            if space.opens(key):
                return space
        raise NotFound("the join key opens no space: it is wrong, was revoked or has expired, or its space has ended")

    def _opening(self, kind: Kind, run: Run) -> Open:
        """Limits of its own make a box that no other run would take."""
        return partial(cold, self._host, kind) if self._pool is None or run.limits else partial(self._pool.box, kind)

    def _keep_ahead(self) -> None:
        """Have boxes wait for the languages that the configuration names."""
        if self._pool is None:
            return
        for name in self._config.pool.ahead:
            run = Run(name, {"": b""})
            try:
                toolchain = self._toolchain(run)
            except UnknownLanguage as problem:
                log.warning("no boxes can be made ahead", extra={"reason": problem.message, "hint": problem.hint})
                continue
            spec = self._spec(self.profile("default"), run, toolchain)
            self._pool.keep(kind_for(toolchain, spec, "default", run))

    def profile(self, name: str) -> Profile:
        """Raises NotFound."""
        try:
            return self._config.profiles[name]
        except KeyError:
            raise NotFound(f"there is no profile {name!r}") from None

    def find(self, session_id: str) -> Session:
        """A session that runs, or has ended a short while ago. Raises NotFound."""
        try:
            return self.sessions[session_id]
        except KeyError:
            raise NotFound("there is no such session, or no more") from None

    def adopt(self, config: Config) -> None:
        """Admit and limit new runs by `config` from now on; those that live keep what they were granted."""
        self._config = config
        self._places.adopt(config)
        if self._cache is not None:
            self._cache.size = config.cache.size
        if self._pool is not None:
            self._pool.adopt(config.pool)
            self._keep_ahead()

    def status(self) -> Status:
        return Status(
            boxes=self._places.taken,
            boxes_max=self._config.boxes.max,
            queued=self._places.waiting,
            started=self._started,
            ended=dict(self._ended),
            draining=self._places.closed,
            spared=self._cache.hits if self._cache is not None else 0,
            compiled=self._cache.misses if self._cache is not None else 0,
            stocks=self._pool.stocks() if self._pool is not None else (),
        )

    async def drain(self, deadline: float) -> None:
        """Let nobody in any more, wait up to `deadline` seconds for sessions to end, then end them. Returns when no
        box is left."""
        self._places.close()
        for kernel in self._kernels:
            kernel.retire()
        for space in self.spaces:
            space.retire()
        with trio.move_on_after(deadline):
            await self._places.until_empty()
        for session in self.sessions.values():
            session.kill("the daemon stops")
        for kernel in self._kernels:
            kernel.end("the daemon stops")
        for space in self.spaces:
            space.kill("the daemon stops")
        await self._places.until_empty()

    def _spec(self, profile: Profile, run: Run, toolchain: Toolchain | None) -> BoxSpec:
        binds = self._host.binds(toolchain)
        return self._host.spec(grant(profile, run.limits, toolchain), binds=binds, widget=profile.widget)

    def _spared(self, toolchain: Toolchain | None, run: Run, plan: Plan, work: str, owner: str | None) -> Spared | None:
        """Where what this run's compile step makes is kept; None: nowhere."""
        settings = self._config.cache
        owner = EVERYBODY if settings.shared else owner
        if self._cache is None or not settings.size or owner is None:
            return None
        if toolchain is None or toolchain.compiled is None or plan.compile is None:
            return None
        if is_volatile(toolchain.compiled, plan.files):
            return None
        launch = Launch(plan.compile, environment(run, plan.env, work), run.mode, work, run.window)
        made = made_by(toolchain, toolchain.compiled, self._host.binds(toolchain))
        name = key(owner, made, launch, plan.files)
        return Spared(self._cache, name, toolchain.compiled.products, self._nursery.start_soon)

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
            self._places.give_back(kernel.id)
        log.info("kernel ended", extra={"kernel": kernel.id, "language": kernel.toolchain.id, "reason": kernel.died})

    async def _serve_space(self, space: Space) -> None:
        try:
            await space.serve()
        except Exception:
            log.exception("space failed unexpectedly", extra={"space": space.id})
        finally:
            self.spaces.discard(space)
            if not self.spaces:
                self._watches.stop()
            self._places.give_back(space.id)
        log.info("space ended", extra={"space": space.id, "reason": space.reason})

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
            if not session.stay.linger:
                del self.sessions[session.id]
        if session.stay.linger:
            await trio.sleep(session.stay.linger)
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
