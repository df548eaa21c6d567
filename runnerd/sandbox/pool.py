"""Boxes made ahead of need: a run that finds one of its kind waits for no box, and often for no interpreter."""

import logging
from collections import deque
from collections.abc import AsyncGenerator, Callable
from contextlib import ExitStack, asynccontextmanager
from dataclasses import dataclass, field

import msgspec
import trio

from runnerd.config import Pool as Settings
from runnerd.errors import RunnerdError
from runnerd.sandbox.box import Box, open_box
from runnerd.sandbox.demand import Demand
from runnerd.sandbox.host import Host
from runnerd.sandbox.spec import BoxSpec, Launch, MiB, Mode
from runnerd.sandbox.stamps import Stamp, stamps
from runnerd.sandbox.zygote import Zygote

log = logging.getLogger("runnerd.sandbox")

CALM = 0.01
"""Seconds without an arrival before a box is made: what a run starts just now comes first."""
PATIENCE = 0.25
"""Where arrivals leave no such gap, it is made after so long all the same."""
LOOK = 1.0
"""Seconds between two looks at ages and at the host's pressure."""
BACKOFF, BACKOFF_MOST = 1.0, 60.0
"""Seconds until a kind whose box could not be made is tried again; twice as long each time."""
GUESS = 16 * MiB
"""What a box of a kind is thought to take before one was seen."""


@dataclass(frozen=True, slots=True)
class Kind:
    """What a box is made for: equal kinds have interchangeable boxes.

    `zygotes` are the programs to start ahead, by the step of a run that each is for; `programs` are files of the host
    whose change makes a waiting box stale.
    """

    spec: BoxSpec
    language: str = ""
    profile: str = field(default="", compare=False)
    mode: Mode = "terminal"
    zygotes: tuple[tuple[str, Launch], ...] = ()
    programs: tuple[str, ...] = ()


class Ready(msgspec.Struct, frozen=True):
    """A box for one run, and the programs that wait in it, by step. `warm`: it was made before the run was known."""

    box: Box
    zygotes: dict[str, Zygote] = msgspec.field(default_factory=dict[str, Zygote])
    warm: bool = False


class Stock(msgspec.Struct, frozen=True):
    """How one kind stands. `rate`: runs per second; `memory`: bytes of one box; `hits` and `misses`: runs that found a
    waiting box, and that did not; `made`, and of these `discarded`: boxes that no run took."""

    language: str
    profile: str
    mode: str
    idle: int
    wanted: int
    rate: float
    memory: int
    hits: int
    misses: int
    made: int
    discarded: int


@asynccontextmanager
async def cold(host: Host, kind: Kind) -> AsyncGenerator[Ready]:
    """A box that is made now. Raises as open_box does."""
    async with open_box(host, kind.spec) as box:
        yield Ready(box)


class Pool:
    """Waiting boxes of each kind that is asked for; `run` makes them.

    `pressed` says what the host is short of: while it is not "", nothing is made and what waits is given up.
    """

    def __init__(self, host: Host, settings: Settings, pressed: Callable[[], str] = lambda: "") -> None:
        self._host, self._settings, self._pressed = host, settings, pressed
        self._shelves: dict[Kind, _Shelf] = {}
        self._changed = trio.Event()
        self._arrived = 0.0

    @asynccontextmanager
    async def box(self, kind: Kind) -> AsyncGenerator[Ready]:
        """A box for one run, for as long as the block runs: one that waits, or else a cold one. Raises as open_box."""
        now = trio.current_time()
        self._arrived = now
        shelf = self._shelf(kind)
        warm = shelf.take(now, self._settings.age)
        self._changed.set()
        if warm is None:
            async with cold(self._host, kind) as ready:
                yield ready
            return
        try:
            yield warm.ready
        finally:
            warm.ready.box.kill()
            with trio.CancelScope(shield=True):
                await warm.gone.wait()

    def keep(self, kind: Kind) -> None:
        """Have boxes of this kind wait from now on, however seldom they are asked for."""
        self._shelf(kind).kept = True
        self._changed.set()

    def adopt(self, settings: Settings) -> None:
        self._settings = settings
        self._changed.set()

    def stocks(self) -> list[Stock]:
        now = trio.current_time()
        return [shelf.stock(now, shelf.wanted(now, self._settings)) for shelf in self._shelves.values()]

    def _shelf(self, kind: Kind) -> "_Shelf":
        return self._shelves.setdefault(kind, _Shelf(kind, trio.current_time()))

    # --- keeping it filled -----------------------------------------------------------------------------------------

    async def run(self) -> None:
        """Make and give up boxes until cancelled; then none is left."""
        async with trio.open_nursery() as nursery:
            while True:
                self._changed = trio.Event()
                self._tend(nursery)
                with trio.move_on_after(LOOK):
                    await self._changed.wait()
                await trio.sleep(CALM)  # what has changed it goes first

    def _tend(self, nursery: trio.Nursery) -> None:
        now, pressed = trio.current_time(), bool(self._pressed())
        for kind, shelf in tuple(self._shelves.items()):
            wanted = 0 if pressed else shelf.wanted(now, self._settings)
            shelf.sort_out(now, self._settings.age, wanted)
            if len(shelf.idle) < wanted and not shelf.filling and now >= shelf.retry_at and self._afford(shelf, now):
                shelf.filling = True
                nursery.start_soon(self._fill, shelf, nursery)
            elif wanted == 0 and not pressed and not shelf.filling:
                del self._shelves[kind]

    def _afford(self, shelf: "_Shelf", now: float) -> bool:
        """Whether there is memory for one more; what is asked for less often gives way."""
        shelves = self._shelves.values()
        taken = sum(each.memory() * (len(each.idle) + each.filling) for each in shelves)
        rarer = sorted(
            (each for each in shelves if each.idle and each.rate(now) < shelf.rate(now)),
            key=lambda each: each.rate(now),
        )
        for each in rarer:
            while each.idle and taken + shelf.memory() > self._settings.memory:
                taken -= each.memory()
                each.give_up()
        return taken + shelf.memory() <= self._settings.memory

    async def _fill(self, shelf: "_Shelf", nursery: trio.Nursery) -> None:
        """Make one box, when it disturbs nobody."""
        try:
            with trio.move_on_after(PATIENCE):
                await self._calm()
            shelf.put(await nursery.start(self._serve, shelf.kind))
        except (RunnerdError, OSError) as problem:  # the host may be short of descriptors, too
            shelf.failed(trio.current_time())
            log.warning("no box could be made ahead", extra={"language": shelf.kind.language, "reason": str(problem)})
        finally:
            shelf.filling = False
            self._changed.set()

    async def _calm(self) -> None:
        while (seconds := self._arrived + CALM - trio.current_time()) > 0:  # noqa: ASYNC110  arrivals wake nobody
            await trio.sleep(seconds)

    async def _serve(self, kind: Kind, task_status: trio.TaskStatus["_Warm"]) -> None:
        """The life of one box, from its making until it is gone. Raises RunnerdError or OSError when it cannot be made
        ready; later nobody waits for it to whom that could be told."""
        before, gone, made = stamps(kind.programs), trio.Event(), False
        try:
            async with open_box(self._host, kind.spec) as box:
                with ExitStack() as stack:
                    ready = Ready(box, warm=True)
                    for step, launch in kind.zygotes:
                        ready.zygotes[step] = await box.prepare(launch)
                        stack.callback(ready.zygotes[step].close)
                    await box.alive()
                    made = True
                    task_status.started(_Warm(ready, before, trio.current_time(), gone))
                    await box.ended.wait()
        except Exception:
            if not made:
                raise
            log.exception("a box made ahead broke", extra={"language": kind.language})
        finally:
            gone.set()
            self._changed.set()


class _Warm(msgspec.Struct, frozen=True):
    """A waiting box, what its programs were when it was made, and when that was. `gone`: nothing of it is left."""

    ready: Ready
    stamps: dict[str, Stamp]
    made: float
    gone: trio.Event

    def fit(self, now: float, age: float, current: dict[str, Stamp]) -> bool:
        """Whether a run may have it: all in it lives and waits, and nothing that it was made of has changed."""
        box, zygotes = self.ready.box, self.ready.zygotes.values()
        young = not age or now - self.made <= age
        return young and self.stamps == current and box.healthy() and all(zygote.waits() for zygote in zygotes)


class _Shelf:
    """The boxes of one kind that wait, the oldest first."""

    def __init__(self, kind: Kind, now: float) -> None:
        self.kind = kind
        self.idle: deque[_Warm] = deque()
        self.kept = self.filling = False
        self.retry_at = 0.0
        self._demand = Demand(now)
        self._backoff = BACKOFF
        self._memory = GUESS
        self._hits = self._misses = self._made = self._discarded = 0

    def take(self, now: float, age: float) -> "_Warm | None":
        self._demand.arrived(now)
        current = stamps(self.kind.programs) if self.idle else {}
        while self.idle:
            warm = self.idle.popleft()
            if warm.fit(now, age, current):
                self._hits += 1
                return warm
            self._discard(warm)
        self._misses += 1
        return None

    def put(self, warm: "_Warm") -> None:
        self.idle.append(warm)
        self._made += 1
        self._backoff = BACKOFF

    def failed(self, now: float) -> None:
        self.retry_at = now + self._backoff
        self._backoff = min(2 * self._backoff, BACKOFF_MOST)

    def wanted(self, now: float, settings: Settings) -> int:
        asked_for = self.kept or now - self._demand.last <= settings.forget
        floor = min(settings.floor, settings.ceiling) if asked_for else 0
        return self._demand.wanted(now, floor=floor, ceiling=settings.ceiling)

    def rate(self, now: float) -> float:
        return self._demand.rate(now)

    def give_up(self) -> None:
        """Destroy the oldest."""
        self._discard(self.idle.popleft())

    def sort_out(self, now: float, age: float, wanted: int) -> None:
        """Destroy what no run may have any more, and the oldest of what is too many."""
        current = stamps(self.kind.programs) if self.idle else {}
        for warm in tuple(self.idle):
            if len(self.idle) > wanted or not warm.fit(now, age, current):
                self.idle.remove(warm)
                self._discard(warm)

    def memory(self) -> int:
        """Bytes of one box, as last seen."""
        if seen := [warm.ready.box.used().peak for warm in self.idle]:
            self._memory = max(max(seen), MiB)
        return self._memory

    def stock(self, now: float, wanted: int) -> Stock:
        return Stock(
            language=self.kind.language,
            profile=self.kind.profile,
            mode=self.kind.mode,
            idle=len(self.idle),
            wanted=wanted,
            rate=round(self.rate(now), 3),
            memory=self.memory(),
            hits=self._hits,
            misses=self._misses,
            made=self._made,
            discarded=self._discarded,
        )

    def _discard(self, warm: "_Warm") -> None:
        self._discarded += 1
        warm.ready.box.kill()
