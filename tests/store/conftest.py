"""Stores of both kinds."""

import os
from collections.abc import Callable, Generator
from pathlib import Path

import pytest

from runnerd.store.database import Store, open_store
from tests import postgresql

Open = Callable[[], Store]


@pytest.fixture(scope="session")
def server() -> Generator[postgresql.Server]:
    binaries = postgresql.programs()
    if binaries is None:
        assert not os.environ.get("CI"), "PostgreSQL's server is missing: apt-get install postgresql"
        pytest.skip("PostgreSQL's server is missing: apt-get install postgresql")
    with postgresql.run(binaries) as running:
        yield running


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request: pytest.FixtureRequest) -> str:
    """As the configuration's `store`: of a database that is still empty."""
    return "" if request.param == "sqlite" else request.getfixturevalue("server").new_database()


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
