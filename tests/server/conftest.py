import io
import logging
from collections.abc import Generator

import pytest

from runnerd.server.logs import Formatter


@pytest.fixture
def written_log() -> Generator[io.StringIO]:
    """The log as a daemon writes it."""
    written = io.StringIO()
    handler = logging.StreamHandler(written)
    handler.setFormatter(Formatter(plain=False))
    log = logging.getLogger("runnerd")
    log.addHandler(handler)
    yield written
    log.removeHandler(handler)
