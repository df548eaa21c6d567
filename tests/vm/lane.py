"""What is run in the machine, from this working tree and a folder of its wheels: the tests under guest/, as root; then
as a visitor with a delegated control group those under boxes/, and the attacks on either backend."""

import re
import shlex
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from tests.vm import machine

ROOT = Path(__file__).parents[2]
SECONDS = 2400.0
PYTHON = (3, 11)
"""The machine's, for which wheels are made here."""


TESTING = (
    *("hypothesis", "iniconfig", "packaging", "pluggy", "pygments", "pytest", "pytest-timeout", "pytest-trio"),
    *("sortedcontainers", "websockets"),
)
"""What the tests under boxes/ need beside runnerd: names in requirements.lock."""

SERVICE = "(cd repo/tests/vm/guest && RUNNERD_HOSTS_SECONDS={seconds} python3 -m pytest -c pytest.ini {options})"
BOXES = (
    "bash repo/tests/vm/visitor env RUNNERD_TEST_BACKEND={backend} "
    "/opt/testing/bin/pytest -q -p no:cacheprovider {what} {options}"
)


def lacking() -> str:
    """Why the tests cannot run here; empty when they can."""
    if sys.version_info[:2] != PYTHON:
        return f"wheels for the machine's Python {PYTHON[0]}.{PYTHON[1]} cannot be made by {sys.version.split()[0]}"
    return machine.lacking()


def service(options: Sequence[str] = ()) -> int:
    """Install and use the service. pytest's exit status in the machine; `options` are pytest's."""
    work = subprocess.run(
        [sys.executable, Path(__file__).with_name("guest") / "work.py"], check=True, capture_output=True
    )
    return _run(SERVICE.format(options=shlex.join(options), seconds=float(work.stdout)))


def boxes(options: Sequence[str] = ()) -> int:
    """Boxes under cgroup v2, and the attacks on them, as an ordinary user. Likewise."""
    passes = (
        ("bubblewrap", "-m vm tests/vm/boxes"),
        ("bubblewrap", "-m attack tests/attacks"),
        ("nsjail", "-m attack tests/attacks"),
    )
    words = shlex.join(options)
    commands = [BOXES.format(backend=backend, what=what, options=words) for backend, what in passes]
    return _run("failed=0\n" + "".join(f"{command} || failed=$?\n" for command in commands) + "exit $failed")


def _run(script: str) -> int:
    """What it prints is shown as it comes."""
    with tempfile.TemporaryDirectory(prefix="runnerd-vm-", dir="/var/tmp") as name:
        folder = Path(name)
        subprocess.run([ROOT / "scripts/wheels", folder / "wheels"], check=True)
        _wheels_of_the_tests(folder / "testing")
        _working_tree(folder / "repo")
        folders = {name: folder / name for name in ("wheels", "testing", "repo")}
        return machine.run(script, folders, folder / "out", seconds=SECONDS).status


def _wheels_of_the_tests(target: Path) -> None:
    lock = (ROOT / "requirements.lock").read_text()
    pins = {each[1]: each[0] for each in re.finditer(r"^(\S+?)==\S+ \\\n(?:    .*\n)+", lock, re.MULTILINE)}
    with tempfile.NamedTemporaryFile("w", suffix=".txt") as file:
        file.write("".join(pins[name] for name in TESTING))
        file.flush()
        wheel = ("wheel", "--quiet", "--disable-pip-version-check", "--no-deps", "--require-hashes")
        command = [sys.executable, "-m", "pip", *wheel, "--wheel-dir", target, "-r", file.name]
        subprocess.run(command, check=True)


def _working_tree(target: Path) -> None:
    """The files that git knows or would take, as they are now."""
    listed = subprocess.run(
        ["git", "ls-files", "-coz", "--exclude-standard"], cwd=ROOT, check=True, capture_output=True
    )
    for path in filter(None, listed.stdout.decode().split("\0")):
        if (ROOT / path).is_file():
            (target / path).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / path, target / path)
