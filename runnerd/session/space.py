"""A space: one box that outlives its connections, with a file tree, a terminal, a join key and members."""

import logging
import math
from collections.abc import AsyncGenerator, AsyncIterable, AsyncIterator, Callable, Generator, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager, contextmanager
from functools import partial
from typing import TYPE_CHECKING

import msgspec
import trio

from runnerd.config import Spaces as Settings
from runnerd.errors import Busy, Forbidden, NotFound, RunnerdError
from runnerd.sandbox.box import Box
from runnerd.sandbox.keeper import Used
from runnerd.sandbox.spec import BoxSpec, Outcome, Window
from runnerd.session import archive
from runnerd.session.changes import Told
from runnerd.session.fetch import Answer, Request, Take, dial, fetch
from runnerd.session.joinkey import JoinKey
from runnerd.session.lifetime import Lifetime
from runnerd.session.members import (
    Came,
    Change,
    Changed,
    Left,
    Listening,
    Member,
    Missed,
    News,
    Over,
    Refused,
    Warned,
    free_name,
)
from runnerd.session.multiplexer import Multiplexer
from runnerd.session.nearing import Nearing
from runnerd.session.observer import Observer, Watches
from runnerd.session.ports import Ports
from runnerd.session.shell import ShellRun, Site, SpaceRun
from runnerd.session.terminal import Terminal
from runnerd.session.workspace import Workspace

if TYPE_CHECKING:
    from runnerd.session.document import Editor

log = logging.getLogger("runnerd.session")

TRANSFERS_MAX = 4
"""Archives that are under way at a time."""

Open = Callable[[], AbstractAsyncContextManager[Box]]


class SpaceEnded(RunnerdError):
    """The space is over, and all that was in it is gone."""

    code, status, close = "space_ended", 410, 4410


class SpaceStatus(msgspec.Struct, frozen=True):
    """Counts of members, of programs in the shared terminal and of other terminals; `memory` in bytes (the most so far)
    and `cpu` in seconds of its box; `age`, and `idle` since anybody or anything did something, in seconds."""

    space: str
    members: int
    programs: int
    terminals: int
    memory: int
    cpu: float
    age: float
    idle: float


class Space:
    """`serve` runs it, in a box of `spec` that `open` gives; everything else may be called once it is `up`.

    `owner` is the public key of who made it, None where no key was needed; `env` are variables of its programs. `over`
    is set when its box is gone, and `reason` says why. Changes by programs are seen by `watches`, if there are any.
    """

    def __init__(
        self,
        id: str,
        open: Open,
        spec: BoxSpec,
        settings: Settings,
        owner: str | None,
        env: Mapping[str, str],
        watches: Watches | None = None,
    ) -> None:
        self.id, self.owner = id, owner
        self.join_key = JoinKey(id.partition("-")[0], settings.join_valid)
        self.members: list[Member] = []
        self.over = trio.Event()
        self.reason = ""
        self.run: ShellRun | None = None
        self._open, self._settings, self._env, self._watches = open, settings, env, watches
        limits = spec.limits
        self._lifetime = Lifetime(limits, settings.grace, self.members, self._edited, self._programs_active)
        self._spec = msgspec.structs.replace(spec, limits=msgspec.structs.replace(limits, wall=0.0, idle=0.0))
        self._life = trio.CancelScope()
        self._up = trio.Event()
        self._retiring = False
        self._runs = self._transfers = 0
        self._box: Box | None = None
        self._files: Workspace | None = None
        self._site: Site | None = None
        self._terminals: Multiplexer | None = None
        self._ports: Ports | None = None

    # --- who is in it ----------------------------------------------------------------------------------------------

    def opens(self, key: str) -> bool:
        """Whether this is its join key, and still good."""
        return self.join_key.opens(key) and not self.reason

    def join(self, user: str, color: str, *, host: bool, watches: bool = True) -> Member:
        """Come in; who `watches` sees the shared terminal. `leave` must follow. Raises Busy, SpaceEnded."""
        self._refuse_when_over()
        if len(self.members) >= self._settings.members:
            raise Busy(f"{len(self.members)} members are in this space", retry_after=10, hint="one must leave first")
        member = Member(free_name(user, self.members), color, host=host, watches=watches)
        self.members.append(member)
        if self.run is not None:
            member.show(self.run.viewer())
        for port in sorted(self._ports.open) if self._ports is not None else ():
            member.tell(Listening(port, open=True))
        self._tell(Came(member), member)
        self.stir()
        return member

    def leave(self, member: Member) -> None:
        self.members.remove(member)
        member.close()
        self._tell(Left(member), member)
        self._lifetime.desert()
        self.stir()

    def changed(self, member: Member | None, change: Change, path: str, to: str | None = None) -> None:
        """Tell all others what `member` did to the tree; None: a program did."""
        self._tell(Changed(member, change, path, to), member)

    def stir(self) -> None:
        """Something was done: the space is not idle."""
        self._lifetime.stir()
        if self._ports is not None:
            self._ports.stir()

    # --- what is in it ---------------------------------------------------------------------------------------------

    async def up(self) -> None:
        """Wait until its box is there. Raises SpaceEnded with the reason when it does not come up."""
        await self._up.wait()
        self._refuse_when_over()

    @property
    def files(self) -> Workspace:
        """Raises SpaceEnded."""
        self._refuse_when_over()
        assert self._files is not None
        return self._files

    def write(self, member: Member, path: str, data: bytes) -> None:
        """As Workspace.write; the others are told when it is written, `member` when it cannot be. Raises SpaceEnded."""

        def told(problem: RunnerdError | None) -> None:
            if problem is None:
                self.changed(member, "write", path)
            else:
                member.tell(Refused(problem))

        self.files.write(path, data, told)

    @asynccontextmanager
    async def editing(self, path: str) -> "AsyncGenerator[Editor]":
        """Edit a text file together with whoever else does. Raises SpaceEnded, as Workspace.edit, Busy."""
        self.stir()
        files = self.files
        await files.edit(path)
        self._refuse_when_over()
        try:
            async with files.documents.editing(path, self._settings.members) as editor:
                yield editor
        finally:
            self._lifetime.desert()
            self.stir()

    async def shell(self, member: Member, text: str) -> None:
        """Start a command line; or, while a program runs, give it a line. Raises Forbidden, BadRequest, SpaceEnded."""
        self._refuse_typing(member)
        if self.run is not None:
            await self.run.type(text.encode() + b"\n")
            return
        self._refuse_when_over()
        assert self._site is not None
        self._runs += 1
        self.run = run = ShellRun(f"{self.id}.{self._runs}", self._site, text, self._run_over)
        for each in self.members:
            each.show(run.viewer())
        self._nursery.start_soon(self._serve_run, run)
        self.stir()

    async def fetch(self, request: Request, take: Take) -> Answer:
        """As `fetch.fetch`, from a port of the space. Raises SpaceEnded."""
        self.stir()
        return await fetch(self._reached(), request, take)

    async def dial(self, port: int) -> trio.SocketStream:
        """A connection to a port of the space. Raises NoAnswer, SpaceEnded, BrokenBox."""
        self.stir()
        return await dial(self._reached(), port)

    async def upload(self, path: str, data: AsyncIterable[bytes], *, packed: bool) -> None:
        """As `archive.upload`; all members hear of it. Raises Busy, SpaceEnded."""
        with self._transfer() as box:
            await archive.upload(box, self.files, path, data, work=self._spec.work, packed=packed)
        self.changed(None, "upload", path)
        self.files.documents.changed(path)

    @asynccontextmanager
    async def download(self, path: str, *, packed: bool) -> AsyncGenerator[AsyncIterator[bytes]]:
        """As `archive.download`. Raises Busy, SpaceEnded."""
        with self._transfer() as box:
            async with archive.download(box, self.files, path, work=self._spec.work, packed=packed) as parts:
                yield parts

    @contextmanager
    def _transfer(self) -> Generator[Box]:
        box = self._reached()
        if self._transfers >= TRANSFERS_MAX:
            raise Busy(f"{self._transfers} archives are under way in this space", retry_after=5)
        self._transfers += 1
        try:
            yield box
        finally:
            self._transfers -= 1
            self.stir()

    async def press(self, member: Member, key: bytes) -> None:
        """A key for the program that runs. Raises Forbidden, NotFound, BadRequest."""
        await self._running(member).write(key)

    def kill_program(self, member: Member) -> None:
        """End the program that runs, with all that it has started. Raises Forbidden, NotFound."""
        self._running(member).kill("killed by a member")

    @property
    def terminals(self) -> Multiplexer:
        """Raises SpaceEnded."""
        self._refuse_when_over()
        assert self._terminals is not None
        return self._terminals

    def open_terminal(self, member: Member, name: str | None, window: Window) -> Terminal:
        """As Multiplexer.open. Raises Forbidden, SpaceEnded."""
        self._refuse_typing(member)
        return self.terminals.open(name, window)

    def close_terminal(self, member: Member, name: str) -> None:
        """End a terminal, with all that was started in it. Raises Forbidden, NotFound, SpaceEnded."""
        self._refuse_typing(member)
        self.terminals.find(name).kill("closed by a member")

    def may_type(self, member: Member) -> bool:
        return member.host or not self._settings.host_only

    # --- its life --------------------------------------------------------------------------------------------------

    async def serve(self) -> None:
        """Run it to its end. Returns when its box is gone."""
        try:
            with self._life:
                async with self._open() as self._box:
                    await self._live(self._box)
        except RunnerdError as problem:
            self.reason = self.reason or problem.message
        finally:
            self.reason = self.reason or "the daemon has stopped"
            self._tell(Over(self.error()))
            if self._files is not None:
                self._files.documents.close(self.error())
            self._up.set()
            self.over.set()

    def kill(self, reason: str) -> None:
        """End it at once, and all in it. Does not wait."""
        self.reason = self.reason or reason
        if self._box is not None:
            self._box.kill()
        self._life.cancel()

    def retire(self) -> None:
        """End it when its program has come to its end: at once when there is none."""
        self._retiring = True
        if self.run is None:
            self.kill("the daemon stops")

    def status(self) -> SpaceStatus:
        used = self._box.used() if self._box is not None else Used()
        return SpaceStatus(
            space=self.id,
            members=len(self.members),
            programs=int(self.run is not None),
            terminals=len(self._terminals.terminals) if self._terminals is not None else 0,
            memory=used.peak,
            cpu=round(used.cpu, 3),
            age=round(self._lifetime.age(), 3),
            idle=round(self._lifetime.idle(), 3),
        )

    def error(self) -> SpaceEnded:
        return SpaceEnded(f"the space has ended: {self.reason}", hint="init makes a new one")

    async def _live(self, box: Box) -> None:
        await box.alive()
        self._files = files = Workspace(box)
        self._site = site = Site(box, self._spec, self._env, files.settled)
        files.documents.refused = lambda problem: self._tell(Refused(problem))
        self._lifetime.begin()
        async with trio.open_nursery() as self._nursery:
            self._terminals = Multiplexer(
                self.id, site, self._settings.terminals, partial(self._nursery.start_soon, self._serve_run)
            )
            self._up.set()
            self._nursery.start_soon(self._files.run)
            self._nursery.start_soon(self._keep_time)
            if self._watches is not None:
                self._nursery.start_soon(self._observer(box, self._watches, self._files).run)
            if box.handles is not None:
                nearing = Nearing(box, self._spec.limits, lambda message: self._tell(Warned(message)))
                self._ports = Ports(box.handles, lambda port, open: self._tell(Listening(port, open)), nearing.look)
                self._nursery.start_soon(self._ports.run)
            await box.ended.wait()
            if box.exceeded is not None:
                self.reason = self.reason or f"it was over its limit of {box.exceeded.value}"
            elif box.failure is not None:
                self.reason = self.reason or box.failure.message
            self.reason = self.reason or "its box has ended"
            self._nursery.cancel_scope.cancel()

    def _observer(self, box: Box, watches: Watches, files: Workspace) -> Observer:
        def changed(told: Told) -> None:
            self.changed(None, told.change, told.path, told.to)
            for path in filter(None, (told.path, told.to)):
                files.documents.changed(path)

        def missed() -> None:
            self._tell(Missed())
            files.documents.changed("")

        return Observer(box, watches, files.mine, changed, missed, lambda why: self._tell(Warned(why)))

    async def _serve_run(self, run: SpaceRun) -> None:
        try:
            await run.serve()
        except Exception:
            log.exception("a space's program failed unexpectedly", extra={"space": self.id})
            run.abort(Outcome.FAILED, "something went wrong inside the daemon; its log tells what")
        finally:
            run.abort(Outcome.KILLED, "the space has ended")

    def _run_over(self) -> None:
        self.run = None
        self.stir()
        if self._retiring:
            self.kill("the daemon stops")

    async def _keep_time(self) -> None:
        self.kill(await self._lifetime.run(self._warn))

    def _warn(self, seconds: float, reason: str) -> None:
        self._tell(Warned(f"the space ends in {seconds:.0f} s: {reason}", round(seconds, 1)))

    def _programs_active(self) -> float:
        """When output or input last came, in trio's time."""
        shell = self.run.feed.active if self.run is not None else -math.inf
        return max(shell, self._terminals.active if self._terminals is not None else -math.inf)

    def _edited(self) -> bool:
        return self._files is not None and self._files.documents.edited

    # --- inner workings --------------------------------------------------------------------------------------------

    def _tell(self, news: News, but: Member | None = None) -> None:
        for member in self.members:
            if member is not but:
                member.tell(news)

    def _running(self, member: Member) -> ShellRun:
        self._refuse_typing(member)
        if self.run is None:
            raise NotFound("no program runs", hint="start one by shell", code="not_running")
        return self.run

    def _refuse_typing(self, member: Member) -> None:
        self.stir()
        if not self.may_type(member):
            raise Forbidden("only the host of this space may use its terminal")

    def _reached(self) -> Box:
        self._refuse_when_over()
        assert self._box is not None
        return self._box

    def _refuse_when_over(self) -> None:
        if self.reason:
            raise self.error()
