"""`runnerd doctor` on a real host, by whom it may be called."""

import json
import subprocess

import pytest
from service import sh


def doctor(command: str) -> tuple[int, dict[str, dict[str, str]]]:
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, timeout=300)
    assert done.stderr == ""
    return done.returncode, {finding["check"]: finding for finding in json.loads(done.stdout)}


@pytest.mark.parametrize("user", ["root", "visitor", "runnerd"])
def test_all_is_well(user: str) -> None:
    state = f"/tmp/doctor-{user}"
    sh(f"install -d -o {user} {state}")
    status, findings = doctor(f"runuser -u {user} -- runnerd doctor --json --state-dir {state}")
    assert status == 0
    assert {check for check, finding in findings.items() if finding["grade"] == "missing"} == set()
    assert findings["a box"]["grade"] == "ok"
    assert findings["bubblewrap"]["grade"] == "ok"
    assert findings["user namespaces"]["grade"] == "ok"
    assert "cpu" in findings["cgroup v2"]["found"]
    assert findings["uids"]["grade"] == ("ok" if user == "root" else "warning")
    assert "AppArmor" not in findings


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


def test_in_a_container_without_delegation() -> None:
    """Its own mount, process and control group namespaces, and control groups that cannot be written."""
    inside = (
        "mount -t proc proc /proc && mount --bind /sys/fs/cgroup /sys/fs/cgroup &&"
        " mount -o remount,bind,ro /sys/fs/cgroup && exec runnerd doctor --json --state-dir /tmp/doctor-container"
    )
    status, findings = doctor(f"unshare --mount --pid --fork --cgroup bash -c '{inside}'")
    assert status == 0
    assert findings["cgroup v2"]["grade"] == "warning"
    assert findings["a box"]["grade"] == "ok"
