"""What a conversation says: events, as its adapter frames them, in the order in which they are told."""

from collections.abc import Awaitable, Callable
from typing import Protocol

import trio

from runnerd.protocols import Adapter, Event, Failed, Frame

LATE = 64
"""Errors that may wait for their turn to be sent before the reader waits as well."""


class Transport(Protocol):
    """A connection that carries frames. `send` keeps the order of its calls and may wait for a slow client.

    `listen` gives each frame in turn to `hear`, maybe in another task, until that returns False or the client is gone.
    `room` waits until what was sent is on its way.
    """

    async def listen(self, hear: Callable[[Frame], Awaitable[bool]]) -> None: ...
    async def send(self, frame: Frame) -> None: ...
    async def room(self) -> None: ...
    async def close(self, code: int, reason: str) -> None: ...


class Outbox:
    """Sends over `transport`. Any task may tell; each waits until its own is sent."""

    def __init__(self, transport: Transport, adapter: Adapter) -> None:
        self._transport, self._adapter = transport, adapter
        self._sends = 0
        self._late = 0

    @property
    def busy(self) -> bool:
        """Whether a send is under way, which may be stuck."""
        return self._sends > 0

    async def tell(self, *events: Event) -> None:
        for frame in self._adapter.send(*events):
            await self.send(frame)

    async def tell_aside(self, failed: Failed, nursery: trio.Nursery) -> None:
        """For the reader, who must stay free for the next command: beside a send that is under way a task of `nursery`
        waits in its place, as long as no more than LATE do."""
        if self.busy and self._late < LATE:
            self._late += 1
            nursery.start_soon(self._tell_late, failed)
        else:
            await self.tell(failed)

    async def _tell_late(self, failed: Failed) -> None:
        try:
            await self.tell(failed)
        finally:
            self._late -= 1

    async def room(self) -> None:
        """Wait until what was sent is on its way."""
        self._sends += 1
        try:
            await self._transport.room()
        finally:
            self._sends -= 1

    async def send(self, frame: Frame) -> None:
        self._sends += 1
        try:
            await self._transport.send(frame)
        finally:
            self._sends -= 1
