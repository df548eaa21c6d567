"""A host uid of its own for each live box, so that boxes cannot signal, trace or out-count one another."""

import fcntl
import os
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

from runnerd.errors import SetupError


class Uids:
    """Hands out uids of one range; safe beside other daemons and commands that use the same range and lock file.

    A uid is taken by a record lock on its own byte of the lock file, which the kernel drops when the process dies.
    Record locks do not exclude their own process, so what this process holds is remembered as well. Uids go round
    the range: what the kernel still counts against a uid whose box just died is not the next box's trouble.
    """

    def __init__(self, first: int, last: int, lock: Path) -> None:
        self._first, self._count = first, last - first + 1
        self._next = os.getpid() * 61 % self._count
        self._held: set[int] = set()
        self._fd = os.open(lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)

    def close(self) -> None:
        os.close(self._fd)

    @contextmanager
    def take(self) -> Generator[int]:
        """A free uid for as long as the block runs. Raises SetupError when the whole range is in use."""
        slot = self._take()
        try:
            yield self._first + slot
        finally:
            self._held.discard(slot)
            fcntl.lockf(self._fd, fcntl.LOCK_UN, 1, slot)

    def _take(self) -> int:
        for _ in range(self._count):
            slot = self._next
            self._next = (slot + 1) % self._count
            if slot in self._held:
                continue
            try:
                fcntl.lockf(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, slot)
            except OSError:
                continue
            self._held.add(slot)
            return slot
        raise SetupError(
            f"all {self._count} uids from {self._first} on are in use by live boxes",
            hint="widen `uids` in the configuration or lower `boxes.max`",
        )
