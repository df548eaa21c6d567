"""Keeps work to a share of the time, where others wait for their turn and whoever asks says how much there is."""

import time
from collections.abc import Generator
from contextlib import contextmanager

import trio

BURST = 0.5
"""Seconds by which it may be ahead of its share."""


class Pace:
    """`share` is between 0 and 1."""

    def __init__(self, share: float) -> None:
        self._share = share
        self._paid = 0.0

    async def wait(self) -> None:
        """Until there is time for more."""
        await trio.sleep_until(self._paid - BURST / self._share)

    @contextmanager
    def taking(self) -> Generator[None]:
        """What is done inside takes of it, by this thread's processor time."""
        began = time.thread_time()
        try:
            yield
        finally:
            now = trio.current_time()
            self._paid = max(now, self._paid) + (time.thread_time() - began) / self._share
