"""Documents that are written by programs say what the programs say now."""

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]


def test_commands_are_documented() -> None:
    command = [sys.executable, ROOT / "scripts/generate-docs", "--print"]
    written = subprocess.run(command, capture_output=True, check=True, timeout=60).stdout.decode()
    assert (ROOT / "docs/cli.md").read_text() == written, "run scripts/generate-docs"
