"""What is run in the machine, from this working tree and a folder of its wheels: the tests under guest/, as root; then
as a visitor with a delegated control group those under boxes/ and the attacks."""

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

SERVICE = "(cd repo/tests/vm/guest && python3 -m pytest -c pytest.ini {options})"
BOXES = "bash repo/tests/vm/visitor /opt/testing/bin/pytest -q -p no:cacheprovider {what} {options}"


def lacking() -> str:
    """Why the tests cannot run here; empty when they can."""
    if sys.version_info[:2] != PYTHON:
        return f"wheels for the machine's Python {PYTHON[0]}.{PYTHON[1]} cannot be made by {sys.version.split()[0]}"
    return machine.lacking()


def service(options: Sequence[str] = ()) -> int:
    """Install and use the service. pytest's exit status in the machine; `options` are pytest's."""
    return _run(SERVICE.format(options=shlex.join(options)))


def boxes(options: Sequence[str] = ()) -> int:
    """Boxes under cgroup v2, and the attacks on them, as an ordinary user. Likewise."""
    words = shlex.join(options)
    return _run(
        f"""{BOXES.format(what="-m vm tests/vm/boxes", options=words)}; first=$?
        {BOXES.format(what="-m attack tests/attacks", options=words)} && exit $first"""
    )


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
