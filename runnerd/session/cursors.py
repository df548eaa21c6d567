"""What those who edit a document show of themselves: cursor, name, colour. Pure.

A state belongs to the connection that was first to show it, and goes with that: nobody speaks for another's client, not
even to say that it is gone, as Yjs does on behalf of whoever was silent for 30 s.
"""

import itertools
from collections.abc import Iterable
from typing import Any

import msgspec

from runnerd.errors import BadRequest, TooLarge

STATE_MAX = 4096
"""Bytes of one state."""

STATES_MAX = 8
"""States of one connection. A browser has one for each document, or one for each of its tabs with it."""

GONE = "null"

_clock = itertools.count(1)
"""Clients believe the larger clock, and remember it when they lose sight of somebody: so whatever is told has a new
one, across all documents and connections."""


class Cursor(msgspec.Struct, frozen=True):
    client: int
    clock: int
    state: str


class Cursors:
    def __init__(self) -> None:
        self._states: dict[int, str] = {}
        self._owners: dict[int, object] = {}

    def show(self, owner: object, client: int, state: str) -> bool:
        """Whether that changed anything. Raises BadRequest for what is no JSON object, TooLarge."""
        if self._owners.get(client, owner) is not owner:
            return False
        if len(state.encode()) > STATE_MAX:
            raise TooLarge(f"a cursor's state is larger than {STATE_MAX} bytes")
        _check(state)
        if state == GONE:
            return self._drop(client)
        if client not in self._owners and len(self._of(owner)) >= STATES_MAX:
            raise TooLarge(f"a connection shows more than {STATES_MAX} cursors")
        self._owners[client] = owner
        self._states[client] = state
        return True

    def leave(self, owner: object) -> list[int]:
        """Whoever it was is gone: the clients that are no longer shown."""
        return [client for client in self._of(owner) if self._drop(client)]

    def get(self, clients: Iterable[int], *, but: object = None) -> list[Cursor]:
        """How these are shown now, without those of `but`. One that is gone says so."""
        return [
            Cursor(client, next(_clock), self._states.get(client, GONE))
            for client in clients
            if but is None or self._owners.get(client) is not but
        ]

    def all(self) -> list[int]:
        return list(self._states)

    def _of(self, owner: object) -> list[int]:
        return [client for client, its in self._owners.items() if its is owner]

    def _drop(self, client: int) -> bool:
        self._owners.pop(client, None)
        return self._states.pop(client, None) is not None


def _check(state: str) -> None:
    """As strictly as browsers do, which would stumble over it."""
    try:
        msgspec.json.decode(state, type=dict[str, Any] | None)
    except (msgspec.MsgspecError, RecursionError, UnicodeError):
        raise BadRequest("a cursor's state is no JSON object") from None
