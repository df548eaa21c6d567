"""Keys and credits in SQLite and in PostgreSQL, with other threads and processes at the same database."""

import hashlib
import signal
import subprocess
import sys
import threading
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from sqlalchemy import Engine
from sqlalchemy.exc import DBAPIError

from runnerd.errors import NotFound, OutOfCredits, SetupError, Unauthorized
from runnerd.store import Rules
from runnerd.store.database import Store
from tests.store.conftest import Open

DEBITS = 10_000
PROCESSES = 4


def engine_of(store: Store) -> Engine:
    return store._writes


def balanced(store: Store, public_key: str) -> int:
    """The balance, which must be the sum of the ledger."""
    balance = store.key(public_key).credits
    assert sum(entry.amount for entry in store.entries(public_key, 10**6)) == balance
    return balance


def test_a_key_is_made_and_known(store: Store) -> None:
    key = store.create_key(5, "a course")
    assert store.verify(key.secret_key).public_key == key.public_key
    assert store.verify(f"{key.public_key}:{key.secret_key}").credits == 5
    assert [(stored.public_key, stored.note) for stored in store.list_keys()] == [(key.public_key, "a course")]
    assert store.key(key.public_key).rules == Rules()


def test_rules_are_kept(store: Store) -> None:
    rules = Rules(("widget", "default"), ("python",), 3, 0)
    assert store.key(store.create_key(5, rules=rules).public_key).rules == rules


def test_a_secret_has_256_random_bits_and_is_kept_as_its_digest_alone(store: Store) -> None:
    key = store.create_key(1)
    assert len(key.secret_key.removeprefix("rsk_")) == 43  # of 6 bits each
    assert store.key(key.public_key).digest == hashlib.sha256(key.secret_key.encode()).digest()
    with engine_of(store).begin() as db:
        rows = [db.exec_driver_sql(f"SELECT * FROM {table}").all() for table in ("keys", "ledger")]
    assert key.secret_key not in str(rows)
    assert key.public_key in str(rows)


@pytest.mark.parametrize("wrong", ["", "rsk_x", "x:y", "rpk_other:{secret}", "{public}:x", "é\0", "\ud800:{secret}"])
def test_wrong_keys(store: Store, wrong: str) -> None:
    key = store.create_key(1)
    with pytest.raises(Unauthorized):
        store.verify(wrong.format(secret=key.secret_key, public=key.public_key))


def test_revoked_keys_are_refused(store: Store) -> None:
    key = store.create_key(3)
    digest = store.key(key.public_key).digest
    assert store.valid([digest, b"x" * 32]) == {digest}
    store.revoke(key.public_key)
    with pytest.raises(Unauthorized):
        store.verify(key.secret_key)
    assert store.valid([digest]) == set()
    with pytest.raises(NotFound):
        store.revoke("rpk_nosuch")


def test_a_rotated_key_has_another_secret(store: Store) -> None:
    old = store.create_key(3)
    digest = store.key(old.public_key).digest
    new = store.rotate(old.public_key)
    assert (new.public_key, new.credits) == (old.public_key, 3)
    assert store.verify(new.secret_key).public_key == old.public_key
    with pytest.raises(Unauthorized):
        store.verify(old.secret_key)
    assert store.valid([digest]) == set()
    store.revoke(old.public_key)
    for key in (old.public_key, "rpk_nosuch"):
        with pytest.raises(NotFound):
            store.rotate(key)
    with pytest.raises(NotFound):
        store.key("rpk_nosuch")


# --- credits -------------------------------------------------------------------------------------------------------


def test_credits_never_go_below_nothing(store: Store) -> None:
    key = store.create_key(3)
    assert store.debit(key.public_key, 2, "run", "n1-1").balance == 1
    with pytest.raises(OutOfCredits, match="costs 2 credits, and the key has 1"):
        store.debit(key.public_key, 2, "run")
    assert store.credit(key.public_key, 10) == 11
    for act in (store.credit, lambda key, amount: store.debit(key, amount, "run")):
        with pytest.raises(NotFound):
            act("rpk_nosuch", 1)
    lines = [(entry.amount, entry.reason, entry.subject) for entry in store.entries(key.public_key)]
    assert lines == [(10, "credit", ""), (-2, "run", "n1-1"), (3, "created", "")]
    assert balanced(store, key.public_key) == 11


def test_a_debit_is_given_back_once(store: Store) -> None:
    key = store.create_key(3)
    debit = store.debit(key.public_key, 2, "run", "n1-1")
    assert store.refund(debit.id)
    assert not store.refund(debit.id)
    assert balanced(store, key.public_key) == 3
    refund, _, created = store.entries(key.public_key)
    assert (refund.amount, refund.reason, refund.subject) == (2, "refund", "n1-1")
    for other in (refund.id, created.id, 10**9):
        with pytest.raises(NotFound):
            store.refund(other)
    assert balanced(store, key.public_key) == 3


def test_threads_that_give_back_the_same_debit(store: Store) -> None:
    key = store.create_key(5)
    debit = store.debit(key.public_key, 5, "run")
    with ThreadPoolExecutor(8) as pool:
        assert Counter(pool.map(lambda _: store.refund(debit.id), range(8))) == {True: 1, False: 7}
    assert balanced(store, key.public_key) == 5


@pytest.mark.parametrize("change", ["UPDATE ledger SET amount = 1000000", "DELETE FROM ledger"])
def test_the_ledger_is_only_added_to(store: Store, change: str) -> None:
    key = store.create_key(3)
    with pytest.raises(DBAPIError, match="the ledger is append-only"), engine_of(store).begin() as db:
        db.exec_driver_sql(change)
    assert balanced(store, key.public_key) == 3


ENDLESS = 1_000_000

DEBIT = f"""
import sys
from pathlib import Path
from runnerd.errors import OutOfCredits
from runnerd.store.database import open_store

url, state, key, number = sys.argv[1:]
store = open_store(url, Path(state))
taken = 0
print("ready", flush=True)
sys.stdin.readline()
try:
    for _ in range(int(number)):
        store.debit(key, 1, "run", "x")
        taken += 1
        if int(number) == {ENDLESS}:
            print(taken, flush=True)
except OutOfCredits:
    pass
print(taken)
"""


def debitor(url: str, state: Path, key: str, number: int) -> subprocess.Popen[str]:
    argv = [sys.executable, "-c", DEBIT, url, str(state), key, str(number)]
    process = subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    return process


def test_ten_thousand_debits_of_several_processes_are_exact(store: Store, url: str, tmp_path: Path) -> None:
    short = 7
    key = store.create_key(DEBITS - short)
    each = DEBITS // PROCESSES
    others = [debitor(url, tmp_path / "state", key.public_key, each) for _ in range(PROCESSES)]
    with ThreadPoolExecutor(PROCESSES) as pool:
        taken = [int(output) for output, _ in pool.map(lambda other: other.communicate("go\n"), others)]
    assert sum(taken) == DEBITS - short
    assert balanced(store, key.public_key) == 0
    assert len(store.entries(key.public_key, DEBITS)) == DEBITS - short + 1


def test_processes_that_are_killed_lose_and_invent_nothing(store: Store, url: str, tmp_path: Path) -> None:
    """All that a debitor was told of is taken, and of what it was not told at most the one that was under way."""
    balance = 10**6
    key = store.create_key(balance)
    for seen in (1, 7, 20, 40):
        others = [debitor(url, tmp_path / "state", key.public_key, ENDLESS) for _ in range(2)]
        told: list[int] = []
        for other in others:
            assert other.stdin is not None
            assert other.stdout is not None
            other.stdin.write("go\n")
            other.stdin.flush()
            told.append([int(other.stdout.readline()) for _ in range(seen)][-1])
        for other in others:
            other.send_signal(signal.SIGKILL)
        for number, other in enumerate(others):
            assert other.stdin is not None
            assert other.stdout is not None
            lines = [line for line in other.stdout if line.endswith("\n")]  # communicate() forgets what was read ahead
            other.stdin.close()
            other.stdout.close()
            other.wait()
            told[number] = int(lines[-1]) if lines else told[number]
        before, balance = balance, balanced(store, key.public_key)
        assert sum(told) <= before - balance <= sum(told) + len(others)
    assert store.debit(key.public_key, 1, "run").balance == balance - 1


# --- opening -------------------------------------------------------------------------------------------------------


def test_many_open_a_new_store_together(another: Open) -> None:
    barrier = threading.Barrier(8)

    def create() -> str:
        barrier.wait()
        return another().create_key(1).public_key

    with ThreadPoolExecutor(8) as pool:
        made = {future.result() for future in [pool.submit(create) for _ in range(8)]}
    assert {key.public_key for key in another().list_keys()} == made


def test_a_newer_database_is_left_alone(store: Store, another: Open) -> None:
    key = store.create_key(1)
    sqlite = engine_of(store).dialect.name == "sqlite"
    newer = "PRAGMA user_version = 99" if sqlite else "UPDATE schema_version SET version = 99"
    with engine_of(store).begin() as db:
        db.exec_driver_sql(newer)
    with pytest.raises(SetupError, match="newer runnerd"):
        another()
    assert store.verify(key.secret_key)
