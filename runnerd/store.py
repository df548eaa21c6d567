"""Keys and credits in SQLite. Safe with several processes: commands may write while the daemon runs."""

import hashlib
import hmac
import secrets
import sqlite3
import threading
import time
from dataclasses import dataclass
from pathlib import Path

from runnerd.errors import NotFound, OutOfCredits, SetupError, Unauthorized

FILE = "runnerd.sqlite3"

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
            self._db = sqlite3.connect(self._path, timeout=10, check_same_thread=False, isolation_level=None)
            self._migrate()
        except (OSError, sqlite3.Error) as problem:
            raise SetupError(
                f"opening the key store {self._path}: {problem}",
                hint="name a folder that this user can write: --state-dir DIR",
            ) from problem

    def close(self) -> None:
        self._db.close()

    def create_key(self, credits: int, note: str = "") -> NewKey:
        """A new key with this many credits; its secret is returned and never kept."""
        key = NewKey(f"rpk_{secrets.token_hex(12)}", f"rsk_{secrets.token_urlsafe(32)}", credits)
        self._run(
            "INSERT INTO keys (public_key, digest, credits, note, created) VALUES (?, ?, ?, ?, ?)",
            (key.public_key, _digest(key.secret_key), credits, note, time.time()),
        )
        return key

    def list_keys(self) -> list[StoredKey]:
        """All keys, oldest first."""
        with self._lock:
            rows = self._db.execute(
                "SELECT public_key, credits, note, created, revoked FROM keys ORDER BY created, rowid"
            ).fetchall()
        return [StoredKey(*row[:4], revoked=bool(row[4])) for row in rows]

    def verify(self, key: str) -> StoredKey:
        """The key of a secret, or of "PUBLIC:SECRET". Raises Unauthorized."""
        public, _, secret = key.rpartition(":")
        digest = _digest(secret)
        with self._lock:
            row = self._db.execute(
                "SELECT public_key, credits, note, created, revoked, digest FROM keys WHERE digest = ?", (digest,)
            ).fetchone()
        if (
            row is None
            or row[4]
            or not hmac.compare_digest(row[5], digest)
            or (public and not hmac.compare_digest(public.encode(), str(row[0]).encode()))
        ):
            raise Unauthorized("the key is not known", hint="runnerd keys create makes one")
        return StoredKey(*row[:4], revoked=False)

    def charge(self, public_key: str, credits: int) -> int:
        """Take credits, and return what remains. Raises OutOfCredits, and takes nothing, when there are too few."""
        with self._lock:
            row = self._db.execute(
                "UPDATE keys SET credits = credits - ? WHERE public_key = ? AND credits >= ? RETURNING credits",
                (credits, public_key, credits),
            ).fetchone()
        if row is None:
            raise OutOfCredits("the key has no credits left", hint="runnerd keys add-credits gives it more")
        return row[0]

    def add_credits(self, public_key: str, credits: int) -> int:
        """Give credits, and return what there is now. Raises NotFound."""
        with self._lock:
            row = self._db.execute(
                "UPDATE keys SET credits = credits + ? WHERE public_key = ? RETURNING credits", (credits, public_key)
            ).fetchone()
        if row is None:
            raise NotFound(f"there is no key {public_key}", hint="runnerd keys list shows them")
        return row[0]

    def revoke(self, public_key: str) -> None:
        """Refuse the key from now on. Raises NotFound."""
        if not self._run("UPDATE keys SET revoked = 1 WHERE public_key = ?", (public_key,)):
            raise NotFound(f"there is no key {public_key}", hint="runnerd keys list shows them")

    def _run(self, statement: str, values: tuple[object, ...]) -> int:
        with self._lock:
            return self._db.execute(statement, values).rowcount

    def _migrate(self) -> None:
        self._db.execute("PRAGMA journal_mode = WAL")
        self._db.execute("BEGIN IMMEDIATE")
        try:
            (version,) = self._db.execute("PRAGMA user_version").fetchone()
            if version > _VERSION:
                raise sqlite3.DatabaseError(f"written by a newer runnerd (version {version})")
            if version < 1:
                self._db.execute(_SCHEMA)
            self._db.execute(f"PRAGMA user_version = {_VERSION}")
        finally:
            self._db.execute("COMMIT")


def _digest(secret: str) -> bytes:
    return hashlib.sha256(secret.encode()).digest()
