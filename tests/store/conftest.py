"""Stores of both kinds."""

from collections.abc import Callable, Generator
from pathlib import Path

import pytest

from runnerd.store.database import Store, open_store

Open = Callable[[], Store]


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request: pytest.FixtureRequest) -> str:
    """As the configuration's `store`: of a database that is still empty."""
    return "" if request.param == "sqlite" else request.getfixturevalue("postgres").new_database()


@pytest.fixture
def another(url: str, tmp_path: Path) -> Generator[Open]:
    """Opens the test's database once more."""
    opened: list[Store] = []

    def open_another() -> Store:
        opened.append(open_store(url, tmp_path / "state"))
        return opened[-1]

    yield open_another
    for each in opened:
        each.close()


@pytest.fixture
def store(another: Open) -> Store:
    return another()
