"""Keys and credits in SQLite. Safe with several processes: commands may write while the daemon runs."""

import fcntl
import hashlib
import hmac
import os
import secrets
import sqlite3
import threading
import time
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from runnerd.errors import NotFound, OutOfCredits, SetupError, Unauthorized

FILE = "runnerd.sqlite3"
BUSY = 10.0
"""Seconds to wait for another process that writes."""

_SCHEMA = """
CREATE TABLE keys (
    public_key TEXT PRIMARY KEY,
    digest BLOB NOT NULL UNIQUE,       -- SHA-256 of the secret key, which is not kept
    credits INTEGER NOT NULL CHECK (credits >= 0),
    note TEXT NOT NULL,
    created REAL NOT NULL,             -- seconds since the epoch
    revoked INTEGER NOT NULL DEFAULT 0
) STRICT;
"""
_VERSION = 1


@dataclass(frozen=True, slots=True)
class StoredKey:
    """A key as the store knows it. `created` is seconds since the epoch."""

    public_key: str
    credits: int
    note: str
    created: float
    revoked: bool


@dataclass(frozen=True, slots=True)
class NewKey:
    """A key as it is made: the only time that its secret is known."""

    public_key: str
    secret_key: str
    credits: int


class Store:
    """The database of one state folder, made if missing: folder 0700, file 0600. Usable from several threads."""

    def __init__(self, state: Path) -> None:
        self._path = state / FILE
        self._lock = threading.Lock()
        try:
            state.mkdir(parents=True, exist_ok=True, mode=0o700)
            self._path.touch(mode=0o600)
            with _alone(state):
                self._db = sqlite3.connect(self._path, timeout=BUSY, check_same_thread=False, isolation_level=None)
                try:
                    self._migrate()
                except sqlite3.Error:
                    self._db.close()
                    raise
        except (OSError, sqlite3.Error) as problem:
            raise self._trouble("opening", problem) from problem

    def close(self) -> None:
        self._db.close()

    def create_key(self, credits: int, note: str = "") -> NewKey:
        """A new key with this many credits; its secret is returned and never kept."""
        key = NewKey(f"rpk_{secrets.token_hex(12)}", f"rsk_{secrets.token_urlsafe(32)}", credits)
        self._run(
            "INSERT INTO keys (public_key, digest, credits, note, created) VALUES (?, ?, ?, ?, ?)",
            key.public_key,
            _digest(key.secret_key),
            credits,
            note,
            time.time(),
        )
        return key

    def list_keys(self) -> list[StoredKey]:
        """All keys, oldest first."""
        rows = self._run("SELECT public_key, credits, note, created, revoked FROM keys ORDER BY created, rowid")
        return [StoredKey(*row[:4], revoked=bool(row[4])) for row in rows]

    def verify(self, key: str) -> StoredKey:
        """The key of a secret, or of "PUBLIC:SECRET". Raises Unauthorized."""
        public, _, secret = key.rpartition(":")
        digest = _digest(secret)
        rows = self._run(
            "SELECT public_key, credits, note, created, digest FROM keys WHERE digest = ? AND NOT revoked", digest
        )
        for *fields, kept in rows:
            key_matches = hmac.compare_digest(kept, digest)
            if key_matches and (not public or hmac.compare_digest(public.encode(), str(fields[0]).encode())):
                return StoredKey(*fields, revoked=False)
        raise Unauthorized("the key is not known", hint="runnerd keys create makes one")

    def charge(self, public_key: str, credits: int) -> int:
        """Take credits, and return what remains. Raises OutOfCredits, and takes nothing, when there are too few."""
        rows = self._run(
            "UPDATE keys SET credits = credits - ? WHERE public_key = ? AND credits >= ? RETURNING credits",
            credits,
            public_key,
            credits,
        )
        if not rows:
            raise OutOfCredits("the key has no credits left", hint="runnerd keys add-credits gives it more")
        return rows[0][0]

    def add_credits(self, public_key: str, credits: int) -> int:
        """Give credits, and return what there is now. Raises NotFound."""
        rows = self._run(
            "UPDATE keys SET credits = credits + ? WHERE public_key = ? RETURNING credits", credits, public_key
        )
        if not rows:
            raise NotFound(f"there is no key {public_key}", hint="runnerd keys list shows them")
        return rows[0][0]

    def revoke(self, public_key: str) -> None:
        """Refuse the key from now on. Raises NotFound."""
        if not self._run("UPDATE keys SET revoked = 1 WHERE public_key = ? RETURNING 1", public_key):
            raise NotFound(f"there is no key {public_key}", hint="runnerd keys list shows them")

    def _run(self, statement: str, *values: object) -> list[tuple[Any, ...]]:
        """One statement, a transaction of its own. Raises SetupError for a full disk or a database locked too long."""
        try:
            with self._lock:
                return self._db.execute(statement, values).fetchall()
        except sqlite3.Error as problem:
            raise self._trouble("using", problem) from problem

    def _trouble(self, step: str, problem: Exception) -> SetupError:
        return SetupError(
            f"{step} the key store {self._path}: {problem}",
            hint="it needs a folder that this user can write, with room left: --state-dir DIR",
        )

    def _migrate(self) -> None:
        self._db.execute("PRAGMA journal_mode = WAL")
        self._db.execute("BEGIN IMMEDIATE")
        with self._db:  # commits, or rolls back
            (version,) = self._db.execute("PRAGMA user_version").fetchone()
            if version > _VERSION:
                raise sqlite3.DatabaseError(f"written by a newer runnerd (version {version})")
            if version < 1:
                self._db.execute(_SCHEMA)
            self._db.execute(f"PRAGMA user_version = {_VERSION}")


@contextmanager
def _alone(state: Path) -> Generator[None]:
    """One opener at a time: SQLite does not wait, but fails, when two turn a new database to WAL together.

    The folder is what is locked: closing a descriptor of the database itself would drop SQLite's own locks on it.
    """
    fd = os.open(state, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX)
        yield
    finally:
        os.close(fd)


def _digest(secret: str) -> bytes:
    return hashlib.sha256(secret.encode()).digest()
