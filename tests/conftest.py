"""What all tests share: one prepared host, as a daemon has it."""

from collections.abc import Generator
from pathlib import Path

import pytest

from runnerd.config import Config
from runnerd.sandbox.host import Host, open_host


@pytest.fixture(scope="session")
def host(tmp_path_factory: pytest.TempPathFactory) -> Generator[Host]:
    """Once for all tests: as root it gives this process a mount namespace of its own."""
    state: Path = tmp_path_factory.mktemp("state")
    with open_host(Config(), limits="best-effort", state_dir=state) as host:
        yield host
