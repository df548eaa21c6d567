"""The Vagrantfile, as far as Vagrant checks it without a provider's machine."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.left_out import left_out

ROOT = Path(__file__).parents[2]

pytestmark = pytest.mark.vm


def validate(folder: Path, scratch: Path) -> subprocess.CompletedProcess[str]:
    places = {"VAGRANT_HOME": str(scratch / "home"), "VAGRANT_DOTFILE_PATH": str(scratch / "dot")}
    environment = {**os.environ, **places, "VAGRANT_CHECKPOINT_DISABLE": "1", "VAGRANT_DEFAULT_PROVIDER": "libvirt"}
    return subprocess.run(
        ["vagrant", "validate"], cwd=folder, env=environment, capture_output=True, text=True, timeout=100
    )


def test_the_vagrantfile_is_valid(tmp_path: Path) -> None:
    if shutil.which("vagrant") is None:
        left_out("vagrant is not installed")
    done = validate(ROOT, tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    broken = tmp_path / "broken"
    broken.mkdir()
    text = (ROOT / "Vagrantfile").read_text()
    (broken / "Vagrantfile").write_text(text.replace("libvirt.cpus", "libvirt.no_such_setting"))
    assert validate(broken, tmp_path).returncode != 0
