"""Keys and credits in a database. Safe with several threads and processes: commands may write while daemons run."""

import hashlib
import hmac
import os
import secrets
import time
from collections.abc import Generator, Iterable
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Engine, Row, select
from sqlalchemy.exc import IntegrityError, SQLAlchemyError

from runnerd.errors import NotFound, OutOfCredits, Unauthorized
from runnerd.store import Debit, Entry, NewKey, Rules, StoredKey
from runnerd.store.engine import READING, open_postgresql, open_sqlite, shown, trouble
from runnerd.store.tables import keys, ledger

ENVIRONMENT = "RUNNERD_STORE"
CREDENTIAL = "store"
"""Name of a file in $CREDENTIALS_DIRECTORY, as service managers hand secrets over."""


def open_store(url: str, state: Path) -> "Store":
    """The store that the environment, a credential file or else the configuration (`url`) names; "" is SQLite in the
    state folder. Raises SetupError and ConfigError."""
    url = os.environ.get(ENVIRONMENT) or _credential() or url
    return Store(open_postgresql(url) if url else open_sqlite(state))


def _credential() -> str:
    folder = os.environ.get("CREDENTIALS_DIRECTORY")
    try:
        return (Path(folder) / CREDENTIAL).read_text().strip() if folder else ""
    except FileNotFoundError:
        return ""
    except (OSError, UnicodeDecodeError) as problem:
        raise trouble("finding", f"in {folder}", problem) from problem


class Store:
    """One database. Every method is a transaction of its own, and raises SetupError for a full disk, a database locked
    for too long or a server that is gone."""

    def __init__(self, engine: Engine) -> None:
        self._writes = engine
        self._reads = engine.execution_options(**{READING: True})

    def close(self) -> None:
        self._writes.dispose()

    # --- keys ------------------------------------------------------------------------------------------------------

    def create_key(self, credits: int, note: str = "", rules: Rules | None = None) -> NewKey:
        """A new key with this many credits; its secret is returned and never kept."""
        rules = rules or Rules()
        key = NewKey(f"rpk_{secrets.token_hex(12)}", _new_secret(), credits)
        with self._writing() as db:
            db.execute(
                keys.insert().values(
                    public_key=key.public_key,
                    digest=digest(key.secret_key),
                    credits=credits,
                    note=note,
                    created=time.time(),
                    revoked=False,
                    profiles=rules.profiles,
                    languages=rules.languages,
                    runs_at_a_time=rules.runs_at_a_time,
                    runs_per_minute=rules.runs_per_minute,
                )
            )
            if credits:
                _enter(db, key.public_key, credits, "created", "")
        return key

    def list_keys(self) -> list[StoredKey]:
        """All keys, oldest first."""
        with self._reading() as db:
            return [_stored(row) for row in db.execute(select(keys).order_by(keys.c.created, keys.c.public_key))]

    def key(self, public_key: str) -> StoredKey:
        """Raises NotFound."""
        with self._reading() as db:
            row = db.execute(select(keys).where(keys.c.public_key == public_key)).one_or_none()
        if row is None:
            raise _unknown(public_key)
        return _stored(row)

    def verify(self, key: str) -> StoredKey:
        """The key of a secret, or of "PUBLIC:SECRET". Raises Unauthorized."""
        public, _, secret = key.rpartition(":")
        wanted = digest(secret)
        with self._reading() as db:
            row = db.execute(select(keys).where(keys.c.digest == wanted, ~keys.c.revoked)).one_or_none()
        if row is not None:
            found = _stored(row)
            same = hmac.compare_digest(found.digest, wanted)
            if same and (not public or hmac.compare_digest(public.encode(errors="replace"), found.public_key.encode())):
                return found
        raise Unauthorized("the key is not known", hint="runnerd keys create makes one")

    def valid(self, digests: Iterable[bytes]) -> set[bytes]:
        """Those of the digests whose secrets are accepted still."""
        with self._reading() as db:
            return set(db.scalars(select(keys.c.digest).where(keys.c.digest.in_(list(digests)), ~keys.c.revoked)))

    def revoke(self, public_key: str) -> None:
        """Refuse the key from now on. Raises NotFound."""
        with self._writing() as db:
            if not db.execute(keys.update().where(keys.c.public_key == public_key).values(revoked=True)).rowcount:
                raise _unknown(public_key)

    def rotate(self, public_key: str) -> NewKey:
        """Give the key a new secret; the old one is refused from now on. Raises NotFound, also for a revoked key."""
        secret = _new_secret()
        change = keys.update().where(keys.c.public_key == public_key, ~keys.c.revoked).values(digest=digest(secret))
        with self._writing() as db:
            balance = db.scalar(change.returning(keys.c.credits))
        if balance is None:
            raise _unknown(public_key, "that is not revoked")
        return NewKey(public_key, secret, balance)

    # --- credits ---------------------------------------------------------------------------------------------------

    def credit(self, public_key: str, credits: int, reason: str = "credit") -> int:
        """Give credits, and return what there is now. Raises NotFound."""
        with self._writing() as db:
            balance = _add(db, public_key, credits)
            if balance is None:
                raise _unknown(public_key)
            _enter(db, public_key, credits, reason, "")
        return balance

    def debit(self, public_key: str, credits: int, reason: str, subject: str = "") -> Debit:
        """Take credits. Raises OutOfCredits, and takes nothing, when there are too few; NotFound."""
        take = keys.update().where(keys.c.public_key == public_key, keys.c.credits >= credits)
        with self._writing() as db:
            balance = db.scalar(take.values(credits=keys.c.credits - credits).returning(keys.c.credits))
            if balance is not None:
                return Debit(_enter(db, public_key, -credits, reason, subject), credits, balance)
            left = db.scalar(select(keys.c.credits).where(keys.c.public_key == public_key))
        if left is None:
            raise _unknown(public_key)
        raise OutOfCredits(
            f"this costs {credits} credits, and the key has {left}", hint="runnerd keys credit gives it more"
        )

    def refund(self, debit: int) -> bool:
        """Give a debit's credits back. False, and nothing happens, when that was done before. Raises NotFound."""
        try:
            with self._writing() as db:
                row = db.execute(select(ledger).where(ledger.c.id == debit, ledger.c.amount < 0)).one_or_none()
                if row is None:
                    raise NotFound(f"the ledger has no debit {debit}")
                _enter(db, row.public_key, -row.amount, "refund", row.subject, refunds=debit)
                _add(db, row.public_key, -row.amount)
        except IntegrityError:
            return False
        return True

    def entries(self, public_key: str, count: int = 20) -> list[Entry]:
        """The newest `count` lines of a key's ledger, newest first."""
        query = select(ledger).where(ledger.c.public_key == public_key).order_by(ledger.c.id.desc()).limit(count)
        with self._reading() as db:
            return [Entry(row.id, row.amount, row.reason, row.subject, row.time) for row in db.execute(query)]

    # --- transactions ----------------------------------------------------------------------------------------------

    @contextmanager
    def _transaction(self, engine: Engine) -> Generator[Connection]:
        try:
            with engine.begin() as connection:
                yield connection
        except IntegrityError:
            raise
        except SQLAlchemyError as problem:
            raise trouble("using", shown(engine), problem) from problem

    def _writing(self) -> Any:
        return self._transaction(self._writes)

    def _reading(self) -> Any:
        return self._transaction(self._reads)


def digest(secret: str) -> bytes:
    """What is kept of a secret key: SHA-256, 32 bytes."""
    return hashlib.sha256(secret.encode(errors="surrogatepass")).digest()


def _new_secret() -> str:
    return f"rsk_{secrets.token_urlsafe(32)}"


def _add(db: Connection, public_key: str, credits: int) -> int | None:
    change = keys.update().where(keys.c.public_key == public_key).values(credits=keys.c.credits + credits)
    return db.scalar(change.returning(keys.c.credits))


def _enter(db: Connection, public_key: str, amount: int, reason: str, subject: str, refunds: int | None = None) -> int:
    entry = ledger.insert().values(
        public_key=public_key, amount=amount, reason=reason, subject=subject, time=time.time(), refunds=refunds
    )
    return db.execute(entry.returning(ledger.c.id)).scalar_one()


def _stored(row: Row[Any]) -> StoredKey:
    rules = Rules(_words(row.profiles), _words(row.languages), row.runs_at_a_time, row.runs_per_minute)
    return StoredKey(row.public_key, row.credits, row.note, row.created, row.revoked, rules, bytes(row.digest))


def _words(found: list[str] | None) -> tuple[str, ...] | None:
    return None if found is None else tuple(found)


def _unknown(public_key: str, which: str = "") -> NotFound:
    return NotFound(f"there is no key {public_key} {which}".rstrip(), hint="runnerd keys list shows them")
