"""Keys and credits, with other threads and processes at the same database."""

import fcntl
import os
import sqlite3
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from runnerd.errors import NotFound, OutOfCredits, SetupError, Unauthorized
from runnerd.store import FILE, Store


def test_a_key_is_made_and_known(tmp_path: Path) -> None:
    store = Store(tmp_path / "state")
    key = store.create_key(5, "a course")
    assert store.verify(key.secret_key).public_key == key.public_key
    assert store.verify(f"{key.public_key}:{key.secret_key}").credits == 5
    assert [(stored.public_key, stored.note) for stored in store.list_keys()] == [(key.public_key, "a course")]


@pytest.mark.parametrize("wrong", ["", "rsk_x", "x:y", "rpk_other:{secret}", "{public}:x", "é\0"])
def test_wrong_keys(tmp_path: Path, wrong: str) -> None:
    store = Store(tmp_path)
    key = store.create_key(1)
    with pytest.raises(Unauthorized):
        store.verify(wrong.format(secret=key.secret_key, public=key.public_key))


def test_the_secret_is_not_kept(tmp_path: Path) -> None:
    store = Store(tmp_path)
    key = store.create_key(1)
    store.close()
    assert all(key.secret_key.encode() not in file.read_bytes() for file in tmp_path.iterdir())


def test_files_are_private(tmp_path: Path) -> None:
    Store(tmp_path / "state").create_key(1)
    assert (tmp_path / "state").stat().st_mode & 0o777 == 0o700
    assert (tmp_path / "state" / FILE).stat().st_mode & 0o777 == 0o600


def test_credits_never_go_below_nothing(tmp_path: Path) -> None:
    store = Store(tmp_path)
    key = store.create_key(3)
    assert store.charge(key.public_key, 2) == 1
    with pytest.raises(OutOfCredits):
        store.charge(key.public_key, 2)
    assert store.add_credits(key.public_key, 10) == 11
    with pytest.raises(NotFound):
        store.add_credits("rpk_nosuch", 1)


def test_revoked_keys_are_refused(tmp_path: Path) -> None:
    store = Store(tmp_path)
    key = store.create_key(3)
    store.revoke(key.public_key)
    with pytest.raises(Unauthorized):
        store.verify(key.secret_key)
    with pytest.raises(NotFound):
        store.revoke("rpk_nosuch")


def test_two_processes_lose_no_charge(tmp_path: Path) -> None:
    store = Store(tmp_path)
    key = store.create_key(400)
    script = (
        "import sys; from pathlib import Path; from runnerd.store import Store\n"
        "store = Store(Path(sys.argv[1]))\nfor _ in range(100): store.charge(sys.argv[2], 1)"
    )
    others = [subprocess.Popen([sys.executable, "-c", script, str(tmp_path), key.public_key]) for _ in range(2)]
    for _ in range(100):
        store.charge(key.public_key, 1)
    assert [other.wait(60) for other in others] == [0, 0]
    assert store.verify(key.secret_key).credits == 100


def test_many_open_a_new_store_together(tmp_path: Path) -> None:
    """SQLite fails at once, however long it may wait, when two turn a new database to WAL at the same time."""
    for attempt in range(20):
        barrier = threading.Barrier(8)

        def create(state: Path = tmp_path / str(attempt), barrier: threading.Barrier = barrier) -> str:
            barrier.wait()
            return Store(state).create_key(1).public_key

        with ThreadPoolExecutor(8) as pool:
            made = {future.result() for future in [pool.submit(create) for _ in range(8)]}
        assert {key.public_key for key in Store(tmp_path / str(attempt)).list_keys()} == made


def test_openers_come_one_by_one(tmp_path: Path) -> None:
    folder = os.open(tmp_path, os.O_RDONLY)
    fcntl.flock(folder, fcntl.LOCK_EX)
    with ThreadPoolExecutor(1) as pool:
        opening = pool.submit(Store, tmp_path)
        with pytest.raises(TimeoutError):
            opening.result(0.1)
        os.close(folder)
        opening.result(60).close()


def test_a_database_locked_for_too_long_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("runnerd.store.BUSY", 0.01)
    store = Store(tmp_path)
    other = sqlite3.connect(tmp_path / FILE, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(SetupError, match=f"using the key store {tmp_path / FILE}: database is locked"):
        store.create_key(1)
    other.execute("COMMIT")
    store.create_key(1)


def test_a_file_that_is_no_database(tmp_path: Path) -> None:
    (tmp_path / FILE).write_bytes(b"nonsense" * 1000)
    with pytest.raises(SetupError, match="not a database"):
        Store(tmp_path)


def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(SetupError, match="file/state") as refused:
        Store(tmp_path / "file" / "state")
    assert "--state-dir" in refused.value.hint


def test_a_newer_database_is_left_alone(tmp_path: Path) -> None:
    Store(tmp_path).close()
    db = sqlite3.connect(tmp_path / FILE)
    db.execute("PRAGMA user_version = 99")
    db.close()
    with pytest.raises(SetupError, match="newer runnerd"):
        Store(tmp_path)
    assert os.path.exists(tmp_path / FILE)
