"""What all tests share: one prepared host, as a daemon has it, and one server of PostgreSQL."""

import os
from collections.abc import Generator
from pathlib import Path
from typing import Any

import hypothesis
import pytest

from runnerd.config import Config
from runnerd.sandbox.host import Host, open_host
from tests import postgresql

LIMITS: Any = os.environ.get("RUNNERD_TEST_LIMITS", "best-effort")
BACKEND: Any = os.environ.get("RUNNERD_TEST_BACKEND", "bubblewrap")

# How long an example takes says how busy the machine is.
hypothesis.settings.register_profile("untimed", deadline=None)
hypothesis.settings.load_profile("untimed")


@pytest.fixture(scope="session")
def host(tmp_path_factory: pytest.TempPathFactory) -> Generator[Host]:
    """Once for all tests: as root it gives this process a mount namespace of its own.

    RUNNERD_TEST_LIMITS=cgroup holds the boxes of all tests by cgroup v2, in a tree that is delegated to us.
    RUNNERD_TEST_BACKEND=nsjail has them built by nsjail.
    """
    state: Path = tmp_path_factory.mktemp("state")
    with open_host(Config(backend=BACKEND), limits=LIMITS, state_dir=state) as host:
        yield host


@pytest.fixture(scope="session")
def postgres() -> Generator[postgresql.Server]:
    binaries = postgresql.programs()
    if binaries is None:
        assert not os.environ.get("CI"), "PostgreSQL's server is missing: apt-get install postgresql"
        pytest.skip("PostgreSQL's server is missing: apt-get install postgresql")
    with postgresql.run(binaries) as running:
        yield running
