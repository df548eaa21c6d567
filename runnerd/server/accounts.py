"""The store of keys and credits, for tasks: opened at first need, and asked in threads since it may block."""

import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, TypeVar

import trio

if TYPE_CHECKING:
    from runnerd.store.database import Store

CALLS = 4
"""Questions under way at a time: a flood of wrong keys must not take every thread."""

T = TypeVar("T")


class Accounts:
    """`open_store` is called in a thread, at the first question; when it fails, at the next one again."""

    def __init__(self, open_store: "Callable[[], Store]") -> None:
        self._open = open_store
        self._store: Store | None = None
        self._lock = threading.Lock()
        self._limiter = trio.CapacityLimiter(CALLS)

    async def ask(self, question: "Callable[[Store], T]") -> T:
        """The answer of `question`, asked in a thread. What is under way is waited for when cancelled, so that no
        change of the store is lost track of. Raises what the store raises."""
        return await trio.to_thread.run_sync(self._ask, question, limiter=self._limiter)

    def close(self) -> None:
        if self._store is not None:
            self._store.close()

    def _ask(self, question: "Callable[[Store], T]") -> T:
        with self._lock:
            if self._store is None:
                self._store = self._open()
        return question(self._store)
