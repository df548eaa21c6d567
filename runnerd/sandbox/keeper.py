"""What holds a box to its limits: a cgroup (leaf.py), or a watcher where there is none (watch.py)."""

from collections.abc import Awaitable, Callable
from typing import Protocol

import msgspec

from runnerd.sandbox.handles import Handles
from runnerd.sandbox.spec import Outcome


class Used(msgspec.Struct, frozen=True):
    """What a box has used: bytes at most so far, tasks (processes and threads) now, CPU seconds so far."""

    peak: int = 0
    tasks: int = 0
    cpu: float = 0.0


class End(msgspec.Struct, frozen=True):
    """Why a box ended that nobody here ended: the limit it broke, or else what is known ("" when nothing is)."""

    exceeded: Outcome | None = None
    reason: str = ""


class Keeper(Protocol):
    """Holds one box. Made before the box, removed after everything in it is dead."""

    @property
    def cgroup(self) -> int | None:
        """A descriptor of the cgroup that the box starts in; None: it stays in the daemon's own."""
        ...

    async def watch(self, up: Callable[[], Awaitable[Handles | None]]) -> Outcome:
        """Wait until a limit is broken, and return which. `up` waits for the box to come up: None when it did not."""
        ...

    def end(self) -> End:
        """Why a box has ended, or its program was killed, as far as the kernel tells."""
        ...

    def used(self) -> Used: ...

    def short_of_processes(self) -> bool:
        """Whether a fork was refused because of the limit."""
        ...

    def kill(self) -> None:
        """Kill everything in the box, where the keeper can. Twice is no error."""
        ...

    async def remove(self) -> None:
        """Kill what may be left, wait until nothing is, and give back what the keeper holds. Does not fail."""
        ...
