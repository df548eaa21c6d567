"""Where the store is, who may read it, and what is said when it cannot be opened."""

import fcntl
import os
import sqlite3
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from runnerd.errors import ConfigError, SetupError
from runnerd.store.database import open_store
from runnerd.store.engine import FILE, server
from tests import postgresql

VERSION_1 = """
CREATE TABLE keys (
    public_key TEXT PRIMARY KEY, digest BLOB NOT NULL UNIQUE, credits INTEGER NOT NULL CHECK (credits >= 0),
    note TEXT NOT NULL, created REAL NOT NULL, revoked INTEGER NOT NULL DEFAULT 0
) STRICT;
PRAGMA user_version = 1;
PRAGMA journal_mode = WAL;
INSERT INTO keys VALUES
    ('rpk_a', x'ca978112ca1bbdcafac231b39a23dc4da786eff8147c4e72b9807785afee48bb', 7, 'a course', 1000.5, 0),
    ('rpk_b', x'00', 0, '', 999.0, 1);
"""


def columns(path: Path) -> dict[str, list[object]]:
    with sqlite3.connect(path) as db:
        names = [
            name for (name,) in db.execute("SELECT name FROM sqlite_schema WHERE type IN ('table', 'trigger', 'index')")
        ]
        found = {name: db.execute(f"PRAGMA table_info({name})").fetchall() for name in names}
    db.close()
    return found


def test_version_1_migrates(tmp_path: Path) -> None:
    (tmp_path / "old").mkdir()
    db = sqlite3.connect(tmp_path / "old" / FILE)
    db.executescript(VERSION_1)
    db.close()
    store = open_store("", tmp_path / "old")
    assert [key.public_key for key in store.list_keys()] == ["rpk_b", "rpk_a"]
    key = store.verify("a")  # whose SHA-256 is above
    assert (key.public_key, key.credits, key.note, key.created) == ("rpk_a", 7, "a course", 1000.5)
    assert store.key("rpk_b").revoked
    assert [(entry.amount, entry.reason) for entry in store.entries("rpk_a")] == [(7, "carried over")]
    assert store.entries("rpk_b") == []
    assert store.debit("rpk_a", 3, "run").balance == 4
    store.close()
    open_store("", tmp_path / "old").close()
    open_store("", tmp_path / "new").close()
    assert columns(tmp_path / "old" / FILE) == columns(tmp_path / "new" / FILE)


def test_files_are_private(tmp_path: Path) -> None:
    store = open_store("", tmp_path / "state")
    store.create_key(1)
    assert (tmp_path / "state").stat().st_mode & 0o777 == 0o700
    for file in (tmp_path / "state").iterdir():
        assert file.stat().st_mode & 0o777 == 0o600, file
    store.close()


def test_many_turn_a_new_file_to_wal_together(tmp_path: Path) -> None:
    """SQLite fails at once, however long it may wait, when two do that at the same time."""
    for attempt in range(10):
        barrier = threading.Barrier(8)

        def create(state: Path = tmp_path / str(attempt), barrier: threading.Barrier = barrier) -> str:
            barrier.wait()
            store = open_store("", state)
            key = store.create_key(1).public_key
            store.close()
            return key

        with ThreadPoolExecutor(8) as pool:
            made = {future.result() for future in [pool.submit(create) for _ in range(8)]}
        store = open_store("", tmp_path / str(attempt))
        assert {key.public_key for key in store.list_keys()} == made
        store.close()


def test_openers_come_one_by_one(tmp_path: Path) -> None:
    folder = os.open(tmp_path, os.O_RDONLY)
    fcntl.flock(folder, fcntl.LOCK_EX)
    with ThreadPoolExecutor(1) as pool:
        opening = pool.submit(open_store, "", tmp_path)
        with pytest.raises(TimeoutError):
            opening.result(0.1)
        os.close(folder)
        opening.result(60).close()


def test_a_database_locked_for_too_long_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("runnerd.store.engine.BUSY", 0.01)
    store = open_store("", tmp_path)
    key = store.create_key(1)
    other = sqlite3.connect(tmp_path / FILE, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(SetupError, match=f"using the key store {tmp_path / FILE}: database is locked"):
        store.create_key(1)
    assert store.verify(key.secret_key)  # who only reads does not wait for who writes
    other.execute("COMMIT")
    other.close()
    store.create_key(1)
    store.close()


def test_a_file_that_is_no_database(tmp_path: Path) -> None:
    (tmp_path / FILE).write_bytes(b"nonsense" * 1000)
    with pytest.raises(SetupError, match="not a database"):
        open_store("", tmp_path)


def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(SetupError, match="file/state") as refused:
        open_store("", tmp_path / "file" / "state")
    assert "--state-dir" in refused.value.hint


# --- by URL --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "url", ["mysql://u:pass@h/d", "sqlite:///x", "nonsense", "postgresql://h:port/d", "postgresql+x://"]
)
def test_what_is_no_url_of_postgresql(url: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as refused:
        open_store(url, tmp_path)
    assert "pass" not in refused.value.message
    assert 'store is "" (SQLite)' in refused.value.hint


def test_both_spellings_are_taken() -> None:
    assert server("postgres://u@h/d") == server("postgresql://u@h/d")


def test_a_server_that_is_not_there_is_told_without_the_password(tmp_path: Path) -> None:
    with pytest.raises(SetupError, match="opening the key store postgresql://me:") as refused:
        open_store(f"postgresql://me:secretword@/d?host={tmp_path}", tmp_path)
    assert "secretword" not in refused.value.message + refused.value.hint
    assert "is the server up" in refused.value.hint


def test_the_url_may_stand_outside_of_the_configuration(
    postgres: postgresql.Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    by_environment, by_credential = postgres.new_database(), postgres.new_database()
    (tmp_path / "store").write_text(f"{by_credential}\n")
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(tmp_path))
    stores = [open_store("", tmp_path / "state")]
    monkeypatch.setenv("RUNNERD_STORE", by_environment)
    stores.append(open_store("", tmp_path / "state"))
    monkeypatch.delenv("RUNNERD_STORE")
    stores += [open_store(by_environment, tmp_path / "state")]  # the credential wins
    (tmp_path / "store").unlink()
    stores += [open_store(by_environment, tmp_path / "state")]
    key = stores[0].create_key(3)
    assert [len(store.list_keys()) for store in stores] == [1, 0, 1, 0]
    assert stores[2].verify(key.secret_key)
    assert not (tmp_path / "state").exists()
    for store in stores:
        store.close()


def test_a_server_that_restarts_is_found_again(tmp_path: Path) -> None:
    binaries = postgresql.programs()
    if binaries is None:
        pytest.skip("PostgreSQL's server is missing")
    with postgresql.run(binaries) as running:
        store = open_store(running.new_database(), tmp_path)
        key = store.create_key(1)
        with store._writes.connect() as db:
            mine = db.exec_driver_sql("SELECT pg_backend_pid()").scalar_one()
        subprocess.run(["kill", str(mine)], check=True)
        assert store.verify(key.secret_key)
        store.close()
    with pytest.raises(SetupError, match="using the key store postgresql://runnerd@"):
        store.list_keys()


def test_nothing_of_the_database_is_loaded_before_it_is_needed() -> None:
    """It would take a tenth of a second of the daemon's start."""
    code = "import sys, runnerd.server.daemon, runnerd.cli.keys; sys.exit('sqlalchemy' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)
