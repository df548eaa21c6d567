"""`runnerd doctor` on a real host, by whom it may be called."""

import json
import subprocess
from pathlib import Path

import pytest
import service
from service import sh


def doctor(command: str) -> tuple[int, dict[str, dict[str, str]]]:
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, timeout=300)
    assert done.stderr == ""
    return done.returncode, {finding["check"]: finding for finding in json.loads(done.stdout)}


def state_of(user: str, where: str) -> str:
    folder = f"/tmp/doctor-{where}-{user}"
    sh(f"install -d -o {user} {folder}")
    return f"--state-dir {folder}"


def boxes_are_well(user: str, status: int, findings: dict[str, dict[str, str]]) -> None:
    assert status == 0
    assert {check for check, finding in findings.items() if finding["grade"] == "missing"} == set()
    for check in ("a box", "bubblewrap", "nsjail", "user namespaces"):
        assert findings[check]["grade"] == "ok", findings[check]
    assert findings["uids"]["grade"] == ("ok" if user == "root" else "warning")
    assert "AppArmor" not in findings


@pytest.mark.parametrize("user", ["root", "visitor", "runnerd"])
def test_in_a_shell(user: str) -> None:
    """Where nothing is delegated, limits are weaker, and it says how to get them."""
    status, findings = doctor(f"runuser -u {user} -- runnerd doctor --json {state_of(user, 'shell')}")
    boxes_are_well(user, status, findings)
    assert findings["cgroup v2"]["grade"] == "warning"
    assert "cpu" in findings["cgroup v2"]["found"]
    assert "limits are best-effort: " in findings["cgroup v2"]["found"]
    assert "scripts/install" in findings["cgroup v2"]["fix"]


@pytest.mark.parametrize("user", ["root", "visitor"])
def test_in_a_delegated_control_group(user: str) -> None:
    delegated = f"systemd-run --quiet --wait --pipe --uid={user} -p Delegate=yes"
    status, findings = doctor(f"{delegated} /usr/local/bin/runnerd doctor --json {state_of(user, 'delegated')}")
    boxes_are_well(user, status, findings)
    assert findings["cgroup v2"]["grade"] == "ok"
    assert "a leaf for each box" in findings["cgroup v2"]["found"]


def test_roots_leaves_nothing_of_roots_in_the_services_state(running: None) -> None:
    """Neither beside the service's cache nor where there is none yet."""

    def owners() -> set[str]:
        return set(sh("find /var/lib/runnerd -printf '%u\\n'").split())

    assert service.run("bash", "echo here")[1] == "here\n"
    assert owners() == {"runnerd"}
    for command in ("true", "rm -r /var/lib/runnerd/cache"):
        sh(command)
        status, findings = doctor("runnerd doctor --json")
        boxes_are_well("root", status, findings)
        assert owners() == {"runnerd"}
    sh("systemctl restart runnerd.service")
    assert list(Path("/var/lib/runnerd/cache").iterdir())


def test_user_namespaces_that_are_off_are_named() -> None:
    before = sh("cat /proc/sys/user/max_user_namespaces").strip()
    sh("sysctl -q -w user.max_user_namespaces=0")
    try:
        status, findings = doctor("runuser -u visitor -- runnerd doctor --json --state-dir /tmp/doctor-off")
    finally:
        sh(f"sysctl -q -w user.max_user_namespaces={before}")
    assert status == 1
    assert findings["user namespaces"]["grade"] == "missing"
    assert "sysctl -w user.max_user_namespaces" in findings["user namespaces"]["fix"]
    assert findings["a box"]["grade"] == "missing"


@pytest.mark.parametrize("user", ["root", "visitor"])
def test_in_a_container_without_delegation(user: str) -> None:
    """Its own mount, process and control group namespaces, and control groups that cannot be written."""
    inside = (
        "mount -t proc proc /proc && mount --bind /sys/fs/cgroup /sys/fs/cgroup &&"
        " mount -o remount,bind,ro /sys/fs/cgroup &&"
        f" exec runuser -u {user} -- runnerd doctor --json {state_of(user, 'container')}"
    )
    status, findings = doctor(f"unshare --mount --pid --fork --cgroup bash -c '{inside}'")
    boxes_are_well(user, status, findings)
    assert findings["cgroup v2"]["grade"] == "warning"
