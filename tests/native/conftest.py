"""init for the tests: the installed binary, or one built here from the same sources."""

import importlib.util
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from driver import Init

SOURCES = Path(__file__).parents[2] / "runnerd/sandbox/native"


def _installed() -> Path | None:
    native = importlib.util.find_spec("runnerd.sandbox._native")
    if native is None or native.origin is None:
        return None
    binary = Path(native.origin).with_name("init")
    return binary if binary.exists() else None


def _build(folder: Path) -> Path:
    """By the comment at the top of init.c, which says how."""
    head = re.sub(r"\n \*\s*", " ", (SOURCES / "init.c").read_text().split("*/")[0])
    sources = re.search(r"Sources: (.+?)\s+Build:", head)
    flags = re.search(r"Build:\s+musl-gcc (.+?) -isystem", head)
    assert sources is not None
    assert flags is not None
    machine = subprocess.check_output(["gcc", "-print-multiarch"], text=True).strip()
    for name, target in [
        ("linux", "/usr/include/linux"),
        ("asm-generic", "/usr/include/asm-generic"),
        ("asm", f"/usr/include/{machine}/asm"),
    ]:
        (folder / name).symlink_to(target)
    binary = folder / "init"
    subprocess.run(
        ["musl-gcc", *flags[1].split(), "-isystem", folder, "-o", binary, *sources[1].split()], cwd=SOURCES, check=True
    )
    return binary


@pytest.fixture(scope="session")
def binary(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy at a place that bubblewrap can show to the box."""
    folder = tmp_path_factory.mktemp("init")
    return _installed() or _build(folder)


@pytest.fixture
def init(binary: Path) -> Iterator[Init]:
    with Init(binary) as init:
        yield init


@pytest.fixture(scope="session")
def sources() -> Path:
    return SOURCES


@pytest.fixture(scope="session")
def clang() -> str:
    path = shutil.which("clang")
    if path is None:
        pytest.skip("clang is not installed")
    return path
