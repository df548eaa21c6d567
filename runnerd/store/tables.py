"""The tables, the same in SQLite and PostgreSQL, and how older ones become them."""

from sqlalchemy import (
    DDL,
    JSON,
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    Connection,
    Double,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Table,
    event,
    inspect,
    select,
    text,
)

VERSION = 2

metadata = MetaData()

# SQLite numbers rows of itself only where a column is declared as INTEGER, which has 64 bits there.
_Number = BigInteger().with_variant(Integer, "sqlite")

keys = Table(
    "keys",
    metadata,
    Column("public_key", String, primary_key=True),
    Column("digest", LargeBinary, nullable=False, unique=True),  # SHA-256 of the secret key, which is not kept
    Column("credits", BigInteger, CheckConstraint("credits >= 0"), nullable=False),  # the sum of its ledger
    Column("note", String, nullable=False),
    Column("created", Double, nullable=False),  # seconds since the epoch
    Column("revoked", Boolean, nullable=False),
    Column("profiles", JSON(none_as_null=True)),
    Column("languages", JSON(none_as_null=True)),
    Column("runs_at_a_time", Integer),
    Column("runs_per_minute", Integer),
)

ledger = Table(
    "ledger",
    metadata,
    Column("id", _Number, primary_key=True),
    Column("public_key", String, ForeignKey("keys.public_key"), nullable=False),
    Column("amount", BigInteger, nullable=False),  # what the balance grew by
    Column("reason", String, nullable=False),
    Column("subject", String, nullable=False),
    Column("time", Double, nullable=False),
    Column("refunds", _Number, ForeignKey("ledger.id"), unique=True),  # the debit that this entry gives back, once only
    Index("ledger_of_key", "public_key", "id"),
    sqlite_autoincrement=True,
)

version = Table("schema_version", metadata, Column("version", Integer, nullable=False))

_SAYS = "the ledger is append-only"
_APPEND_ONLY = {
    "sqlite": [
        f"CREATE TRIGGER ledger_no_{verb} BEFORE {verb} ON ledger BEGIN SELECT RAISE(ABORT, '{_SAYS}'); END"
        for verb in ("UPDATE", "DELETE")
    ],
    "postgresql": [
        "CREATE OR REPLACE FUNCTION ledger_refuse() RETURNS trigger LANGUAGE plpgsql AS "
        f"$$ BEGIN RAISE EXCEPTION '{_SAYS}'; END $$",
        "CREATE TRIGGER ledger_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON ledger "
        "FOR EACH STATEMENT EXECUTE FUNCTION ledger_refuse()",
    ],
}
for _dialect, _statements in _APPEND_ONLY.items():
    for _statement in _statements:
        event.listen(ledger, "after_create", DDL(_statement).execute_if(dialect=_dialect))


class NewerSchema(Exception):
    """The database was written by a newer runnerd."""


def migrate(connection: Connection) -> None:
    """Bring the database to VERSION, within the caller's transaction. Raises NewerSchema.

    An empty one gets the tables as they are now; a step per version brings older ones here.
    """
    found = _found(connection)
    if found > VERSION:
        raise NewerSchema(f"written by a newer runnerd (version {found})")
    if found == VERSION:
        return
    if found == 1:
        connection.execute(text("ALTER TABLE keys RENAME TO keys_1"))
    metadata.create_all(connection)
    if found == 1:
        _from_1(connection)
    connection.execute(version.insert().values(version=VERSION))
    if connection.dialect.name == "sqlite":
        connection.execute(text(f"PRAGMA user_version = {VERSION}"))  # keeps a runnerd that only knows this one away


def _found(connection: Connection) -> int:
    if connection.dialect.name == "sqlite":
        marked = connection.execute(text("PRAGMA user_version")).scalar_one()
        if marked:
            return marked
    if not inspect(connection).has_table(version.name):
        return 0
    return connection.execute(select(version.c.version)).scalar_one_or_none() or 0


def _from_1(connection: Connection) -> None:
    """Version 1 was SQLite only, and had balances without a ledger."""
    connection.execute(
        text(
            "INSERT INTO keys (public_key, digest, credits, note, created, revoked) "
            "SELECT public_key, digest, credits, note, created, revoked FROM keys_1 ORDER BY created, rowid"
        )
    )
    connection.execute(
        text(
            "INSERT INTO ledger (public_key, amount, reason, subject, time) "
            "SELECT public_key, credits, 'carried over', '', created FROM keys_1 WHERE credits > 0 ORDER BY rowid"
        )
    )
    connection.execute(text("DROP TABLE keys_1"))
