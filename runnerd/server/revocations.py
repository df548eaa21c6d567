"""Notices that keys in use were revoked or got a new secret: commands change the store, and do not tell the daemon."""

import logging
from collections.abc import Callable, Generator
from contextlib import contextmanager

import trio

from runnerd.errors import RunnerdError
from runnerd.server.accounts import Accounts
from runnerd.store import StoredKey

log = logging.getLogger("runnerd.server.revocations")

INTERVAL = 2.0
"""Seconds between two looks; there are none while no key is in use."""

Act = Callable[[], None]


class Revocations:
    """Watches keys in use by the digests of their secrets, which a new secret changes."""

    def __init__(self, accounts: Accounts) -> None:
        self._accounts = accounts
        self._watches: dict[bytes, dict[object, Act]] = {}
        self._some = trio.Event()

    @contextmanager
    def watch(self, key: StoredKey, act: Act) -> Generator[None]:
        """While the block runs, call `act` when the key is refused from now on; perhaps more than once."""
        watch = object()
        self._watches.setdefault(key.digest, {})[watch] = act
        self._some.set()
        try:
            yield
        finally:
            watches = self._watches[key.digest]
            del watches[watch]
            if not watches:
                del self._watches[key.digest]

    async def run(self) -> None:
        """Look again and again, until cancelled."""
        while True:
            if not self._watches:
                self._some = trio.Event()
                await self._some.wait()
            await trio.sleep(INTERVAL)
            digests = set(self._watches)
            if not digests:
                continue
            try:
                valid = await self._accounts.ask(lambda store, digests=digests: store.valid(digests))
            except RunnerdError as problem:
                log.warning("cannot look for revoked keys", extra={"problem": problem.message})
                continue
            for digest in digests - valid:
                for act in list(self._watches.get(digest, {}).values()):
                    act()
