"""scripts/uninstall, the last of all tests: nothing is left of the service."""

import subprocess
from pathlib import Path

import service
from conftest import files
from service import sh

UNINSTALL = f"{service.REPO}/scripts/uninstall"

BACKUPS = {f"/etc/{name}-" for name in ("passwd", "group", "shadow", "gshadow", "subuid", "subgid")}
"""Which useradd and userdel leave of their files."""


def test_it_can_keep_what_is_the_operators(before: set[str]) -> None:
    sh("systemctl start runnerd.service")
    sh("runuser -u runnerd -- runnerd keys create --credits 1 --state-dir /var/lib/runnerd")
    said = sh(f"{UNINSTALL} --keep-state")
    assert "were kept" in said
    kept = ("/etc/runnerd", "/var/lib/runnerd")
    assert {path for path in files() - before if not path.startswith(kept)} <= BACKUPS
    assert sh("id -un runnerd") == "runnerd\n"
    without_node = "/tmp/wheels"  # it is nine tenths of the bytes and of the time
    sh(f"mkdir {without_node} && ln -s {service.WHEELS}/*.whl {without_node} && rm {without_node}/nodejs*")
    assert "is installed" in sh(f"{service.REPO}/scripts/install --wheels {without_node}")
    assert '"credits": 1' in sh("runuser -u runnerd -- runnerd keys list --json --state-dir /var/lib/runnerd")


def test_nothing_is_left(before: set[str]) -> None:
    sh("systemctl enable --now runnerd.socket && systemctl start runnerd.service")
    assert service.run("bash", "echo here")[1] == "here\n"
    assert sh(UNINSTALL) == "runnerd is gone\n"
    assert service.show("LoadState") == "not-found"
    assert subprocess.run(["id", "runnerd"], capture_output=True).returncode != 0
    assert subprocess.run(["pgrep", "-f", "/opt/runnerd"], capture_output=True).returncode == 1
    assert service.box_mounts() == []
    assert files() - before <= BACKUPS
    assert list(Path("/run").rglob("runnerd*")) == [service.DROP_INS]  # of these tests
    assert "runnerd" not in sh("cat /etc/passwd /etc/group")


def test_once_more_does_no_harm(before: set[str]) -> None:
    assert sh(UNINSTALL) == "runnerd is gone\n"
