"""The tests under guest/, run in the machine from this working tree and a folder of its wheels."""

import shlex
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from tests.vm import machine

ROOT = Path(__file__).parents[2]
SECONDS = 1800.0
PYTHON = (3, 11)
"""The machine's, for which wheels are made here."""


def lacking() -> str:
    """Why the tests cannot run here; empty when they can."""
    if sys.version_info[:2] != PYTHON:
        return f"wheels for the machine's Python {PYTHON[0]}.{PYTHON[1]} cannot be made by {sys.version.split()[0]}"
    return machine.lacking()


def run(options: Sequence[str] = ()) -> int:
    """pytest's exit status in the machine; `options` are pytest's. What it prints is shown as it comes."""
    with tempfile.TemporaryDirectory(prefix="runnerd-vm-", dir="/var/tmp") as name:
        folder = Path(name)
        subprocess.run([ROOT / "scripts/wheels", folder / "wheels"], check=True)
        _working_tree(folder / "repo")
        script = f"cd repo/tests/vm/guest && exec python3 -m pytest -c pytest.ini {shlex.join(options)}\n"
        folders = {"wheels": folder / "wheels", "repo": folder / "repo"}
        return machine.run(script, folders, folder / "out", seconds=SECONDS).status


def _working_tree(target: Path) -> None:
    """The files that git knows or would take, as they are now."""
    listed = subprocess.run(
        ["git", "ls-files", "-coz", "--exclude-standard"], cwd=ROOT, check=True, capture_output=True
    )
    for path in filter(None, listed.stdout.decode().split("\0")):
        if (ROOT / path).is_file():
            (target / path).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / path, target / path)
