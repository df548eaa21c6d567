"""Who edits a document, and what each is told."""

from collections import deque
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

import msgspec
import trio

from runnerd.errors import RunnerdError
from runnerd.session.cursors import Cursor

if TYPE_CHECKING:
    from runnerd.session.document import Document

UPDATES_MAX = 512 * 1024
"""Bytes of changes that wait for a slow connection; when there are more it gets the whole document instead."""

OVERHEAD = 64
"""What an update weighs beside its bytes."""


class Changed(msgspec.Struct, frozen=True):
    """An update in Yjs's format."""

    update: bytes


class Shown(msgspec.Struct, frozen=True):
    cursors: Sequence[Cursor]


News = Changed | Shown


class Editor:
    """One connection to a document, and what waits for it. The document's methods tell it; `next` takes that."""

    def __init__(self, document: "Document") -> None:
        self.document = document
        self._updates: deque[bytes] = deque()
        self._size = 0
        self._all = False
        self._cursors: set[int] = set(document.cursors.all())
        self._over: RunnerdError | None = None
        self._lot = trio.lowlevel.ParkingLot()

    async def next(self) -> Sequence[News]:
        """Wait for news and take all that there are. Raises the reason when the document was closed."""
        while not (self._updates or self._all or self._cursors or self._over):
            await self._lot.park()
        if self._over is not None:
            raise self._over
        news: list[News] = [Changed(update) for update in self._updates]
        if self._all:
            news = [Changed(self.document.whole())]
        cursors = self.document.cursors.get(self._cursors, but=self)
        self._updates.clear()
        self._size, self._all, self._cursors = 0, False, set()
        return [*news, Shown(cursors)] if cursors else news

    def change(self, update: bytes) -> None:
        self._size += len(update) + OVERHEAD
        if self._size > UPDATES_MAX:
            self._updates.clear()
            self._all = True
        if not self._all:
            self._updates.append(update)
        self._lot.unpark_all()

    def show(self, clients: Iterable[int]) -> None:
        self._cursors |= set(clients)
        self._lot.unpark_all()

    def close(self, reason: RunnerdError) -> None:
        self._over = self._over or reason
        self._lot.unpark_all()
