"""Places for boxes: how many there are, who waits for one, and when nobody is let in any more."""

from collections.abc import Callable

import trio

from runnerd.config import Config
from runnerd.errors import Busy

RELIEF = 0.5
"""Seconds after which who waits for the host's pressure to fall looks again."""


class Places:
    """`pressed` says what the host is short of; while it is not "", who comes has to wait.

    Places are taken by the id of what is in the box, in order of arrival, and are to be given back.
    """

    def __init__(self, config: Config, pressed: Callable[[], str]) -> None:
        self._config, self._pressed = config, pressed
        self._limiter = trio.CapacityLimiter(config.boxes.max)
        self._queue: set[trio.CancelScope] = set()
        self._door = trio.StrictFIFOLock()
        self._empty = trio.lowlevel.ParkingLot()
        self.closed = False

    @property
    def taken(self) -> int:
        return int(self._limiter.borrowed_tokens)

    @property
    def waiting(self) -> int:
        return len(self._queue)

    def adopt(self, config: Config) -> None:
        self._config = config
        self._limiter.total_tokens = config.boxes.max

    def close(self) -> None:
        """Let nobody in any more; who waits is told."""
        self.closed = True
        for waiting in self._queue:
            waiting.cancel()

    def refuse_when_closed(self) -> None:
        """Raises Busy."""
        if self.closed:
            raise Busy("the daemon is stopping", retry_after=self._config.drain.seconds or 1)

    async def take(self, id: str) -> None:
        """Take a place, waiting for a while when others were before, no place is free or the host is under pressure.
        Raises Busy."""
        boxes = self._config.boxes
        self.refuse_when_closed()
        pressed = self._pressed()
        if not pressed and not self._queue:
            try:
                self._limiter.acquire_on_behalf_of_nowait(id)
                return
            except trio.WouldBlock:
                pass
        if len(self._queue) >= boxes.queue:
            why = pressed or f"all {boxes.max} boxes are taken"
            raise Busy(f"{why}, and {len(self._queue)} runs wait", retry_after=boxes.queue_wait or 1)
        with trio.move_on_after(boxes.queue_wait) as patience:
            self._queue.add(patience)
            try:
                await self._wait(id)
            finally:
                self._queue.discard(patience)
        if patience.cancelled_caught:
            self.refuse_when_closed()
            waited = f"within {boxes.queue_wait:g} s"
            pressed = self._pressed()
            why = f"{pressed}, and was not relieved {waited}" if pressed else f"no box became free {waited}"
            raise Busy(why, retry_after=boxes.queue_wait or 1)
        if self.closed:
            self.give_back(id)
            self.refuse_when_closed()

    def give_back(self, id: str) -> None:
        self._limiter.release_on_behalf_of(id)
        self._empty.unpark_all()

    async def until_empty(self) -> None:
        while self.taken:
            await self._empty.park()

    async def _wait(self, id: str) -> None:
        """In order of arrival. A place that comes free under pressure is kept for whoever waits first."""
        async with self._door:
            await self._limiter.acquire_on_behalf_of(id)
            try:
                while self._pressed():  # noqa: ASYNC110  the kernel tells nobody
                    await trio.sleep(RELIEF)
            except BaseException:
                self.give_back(id)
                raise
