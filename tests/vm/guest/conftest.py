"""The service is installed once, as an operator does it, and taken away by the last tests (test_uninstall.py)."""

from collections.abc import Callable, Iterator

import pytest
import service
from service import sh

Configure = Callable[[str], object]

# Where things come and go on any running system.
CHANGING = (
    "/proc",
    "/sys",
    "/dev",
    "/run",
    "/tmp",
    "/job",
    "/var/log",
    "/var/tmp",
    "/var/lib/systemd",
    "/var/lib/postgresql",
    "/var/cache",
    "/root",
)


def files() -> set[str]:
    skipped = " -o ".join(f"-path {path}" for path in CHANGING)
    found = sh(f"find / \\( {skipped} -o -name __pycache__ \\) -prune -o -print").splitlines()
    return {path for path in found if not path.endswith((".pyc", "/.pwd.lock"))}


@pytest.fixture(scope="session")
def before() -> set[str]:
    """All files of the machine before runnerd came."""
    return files()


@pytest.fixture(scope="session", autouse=True)
def installed(before: set[str]) -> str:
    """What the installation said."""
    said = sh(f"{service.REPO}/scripts/install --wheels {service.WHEELS}")
    service.allow_everybody()
    return said


@pytest.fixture
def configure() -> Iterator[Configure]:
    """Writes settings below the installed ones, which come back when the test is over."""
    installed = service.CONFIG.read_text()
    yield lambda settings: service.CONFIG.write_text(f"{installed}\n{settings}")
    service.CONFIG.write_text(installed)


@pytest.fixture
def running() -> Iterator[None]:
    """The service, started; stopped when the test is over."""
    try:
        sh("systemctl start runnerd.service")
    except AssertionError as problem:
        raise AssertionError(f"{problem}\n{service.journal()[-4000:]}") from None
    yield
    sh("systemctl stop runnerd.service runnerd.socket")
    sh("systemctl reset-failed runnerd.service || true")
