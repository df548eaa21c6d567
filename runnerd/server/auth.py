"""Who may start programs: keys from headers or messages, checked against the store, and anonymous use."""

from collections.abc import Callable
from typing import Literal

import trio

from runnerd.errors import Unauthorized
from runnerd.server.head import Head

Anonymous = Literal["auto", "always", "never"]


class Doorkeeper:
    """Checks keys. `verify` raises Unauthorized for a wrong one; it reads a database, so it runs in a thread.

    Anonymous use "auto" is allowed where only this machine can connect (`loopback`).
    """

    def __init__(self, verify: Callable[[str], object], *, anonymous: Anonymous, loopback: bool) -> None:
        self._verify = verify
        self.anonymous = anonymous == "always" or (anonymous == "auto" and loopback)
        # One at a time: the store's connection is shared, and a flood of wrong keys must not take every thread.
        self._limiter = trio.CapacityLimiter(1)

    async def check(self, key: str) -> None:
        """Raise Unauthorized unless the key is known."""
        await trio.to_thread.run_sync(self._verify, key, limiter=self._limiter)

    async def check_token(self, token: str) -> None:
        """A widget's token."""

    def refuse_anonymous(self) -> None:
        """Raise Unauthorized when nothing may be started without a key."""
        if not self.anonymous:
            raise Unauthorized("a key is needed", hint="send Authorization: Bearer KEY, or an auth message first")


def key_in(head: Head) -> str | None:
    """The key that a request carries. Raises Unauthorized for a scheme that is not known."""
    authorization = head.get("authorization")
    if authorization is not None:
        scheme, _, key = authorization.partition(" ")
        if scheme.lower() != "bearer" or not key.strip():
            raise Unauthorized("Authorization is not a bearer key", hint="send Authorization: Bearer KEY")
        return key.strip()
    return head.get("x-api-key")
