"""Opens the database: a file of the state folder, or a PostgreSQL server by URL."""

import fcntl
import os
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sqlalchemy import URL, Connection, Engine, create_engine, event, make_url
from sqlalchemy.exc import ArgumentError, DBAPIError, SQLAlchemyError

from runnerd.errors import ConfigError, SetupError
from runnerd.store import tables

FILE = "runnerd.sqlite3"
BUSY = 10.0
"""Seconds to wait for another process that writes, or for a server."""

READING = "runnerd_reading"
"""Execution option of a connection that only reads, and so need not take SQLite's one lock for writers."""


def open_sqlite(state: Path) -> Engine:
    """The database of a state folder, made if missing: folder 0700, file 0600. Raises SetupError."""
    path = state / FILE
    try:
        state.mkdir(parents=True, exist_ok=True, mode=0o700)
        path.touch(mode=0o600)
        with _alone(state):
            return _ready(_sqlite_engine(path), str(path))
    except OSError as problem:
        raise trouble("opening", str(path), problem) from problem


def open_postgresql(url: str) -> Engine:
    """The database that a postgresql:// URL names. Raises ConfigError (without the URL: it may hold a password) and
    SetupError."""
    try:
        import psycopg  # noqa: F401  # pyright: ignore[reportUnusedImport]
    except ImportError as problem:
        raise SetupError(
            "the store is PostgreSQL, and psycopg is missing", hint="pip install 'runnerd[postgresql]'"
        ) from problem
    place = server(url)
    patience: dict[str, Any] = {"connect_timeout": round(BUSY)}
    if "options" not in place.query:
        patience["options"] = f"-c lock_timeout={BUSY:g}s -c statement_timeout={2 * BUSY:g}s"
    return _ready(create_engine(place, pool_pre_ping=True, connect_args=patience), _shown(place))


def server(url: str) -> URL:
    """A postgresql:// URL for psycopg. Raises ConfigError, whose text does not hold the URL."""
    try:
        place = make_url(url)
    except (ArgumentError, ValueError):
        place = None
    if place is None or place.drivername not in ("postgresql", "postgres"):
        raise ConfigError(
            "store is not a URL of PostgreSQL", hint='store is "" (SQLite), or postgresql://USER:PASSWORD@HOST/DATABASE'
        )
    return place.set(drivername="postgresql+psycopg")


def trouble(step: str, place: str, problem: Exception) -> SetupError:
    """What went wrong, without statements and their values."""
    cause = problem.orig if isinstance(problem, DBAPIError) and problem.orig is not None else problem
    local = not place.startswith("postgresql")
    return SetupError(
        f"{step} the key store {place}: {str(cause).strip()}",
        hint="it needs a folder that this user can write, with room left: --state-dir DIR"
        if local
        else "is the server up, and may this user connect, write and create tables there?",
    )


def shown(engine: Engine) -> str:
    """The file, or the server's URL without its password."""
    return engine.url.database or "" if engine.dialect.name == "sqlite" else _shown(engine.url)


def _shown(url: URL) -> str:
    return url.set(drivername="postgresql").render_as_string(hide_password=True)


def _ready(engine: Engine, place: str) -> Engine:
    try:
        with engine.begin() as connection:
            if engine.dialect.name == "postgresql":
                connection.exec_driver_sql("SELECT pg_advisory_xact_lock(7218201)")  # one opener at a time
            tables.migrate(connection)
    except (SQLAlchemyError, tables.NewerSchema) as problem:
        engine.dispose()
        raise trouble("opening", place, problem) from problem
    return engine


def _sqlite_engine(path: Path) -> Engine:
    url = URL.create("sqlite", database=str(path))
    engine = create_engine(url, connect_args={"timeout": BUSY, "check_same_thread": False})

    @event.listens_for(engine, "connect")
    def _prepare(connection: Any, record: object) -> None:  # pyright: ignore[reportUnusedFunction]
        connection.isolation_level = None  # transactions begin where `_begin` says, not where the driver guesses
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA foreign_keys = ON")

    @event.listens_for(engine, "begin")
    def _begin(connection: Connection) -> None:  # pyright: ignore[reportUnusedFunction]
        reading = connection.get_execution_options().get(READING)
        connection.exec_driver_sql("BEGIN" if reading else "BEGIN IMMEDIATE")

    return engine


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
