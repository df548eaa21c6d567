"""One real daemon, shared by all end-to-end tests."""

from collections.abc import Iterator

import pytest

from tests.e2e.serving import Daemon, serve


@pytest.fixture(scope="session")
def daemon(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    with serve(tmp_path_factory.mktemp("daemon")) as daemon:
        yield daemon
