"""What the unit takes from the daemon, and that it takes nothing from boxes."""

import ctypes
import re
import tomllib

import pytest
import service
from service import sh

EXPOSURE = 2.5


def test_exposure(capsys: pytest.CaptureFixture[str]) -> None:
    report = sh("systemd-analyze security --no-pager runnerd.service")
    found = re.search(r"exposure level for runnerd\.service: ([0-9.]+)", report)
    assert found
    with capsys.disabled():
        print(f"exposure {found[1]}", end=" ")
    assert float(found[1]) <= EXPOSURE, report


def test_the_units_are_right() -> None:
    units = "/usr/local/lib/systemd/system"
    said = sh(f"systemd-analyze verify {units}/runnerd.service {units}/runnerd.socket {units}/runnerd.slice 2>&1")
    assert said == ""


def test_what_boxes_may_call_the_unit_lets_through() -> None:
    """Of the calls that this host's libseccomp knows; others are answered as by the kernel of its time."""
    groups: dict[str, set[str]] = {}
    name = ""
    for line in sh("systemd-analyze syscall-filter --no-pager").splitlines():
        if line.startswith("@"):
            name = line.strip()
            groups[name] = set()
        elif line.startswith("    ") and not line.strip().startswith("#"):
            groups[name].add(line.strip())

    def calls(name: str) -> set[str]:
        return {name} if name[0] != "@" else set[str]().union(*map(calls, groups[name]))

    unit = sh("systemctl cat runnerd.service")
    let_through = set[str]().union(
        *(calls(word) for line in re.findall(r"^SystemCallFilter=(.*)", unit, re.MULTILINE) for word in line.split())
    ) | calls("@default")
    policy = tomllib.loads((service.REPO / "seccomp/allow.toml").read_text())
    number = ctypes.CDLL("libseccomp.so.2").seccomp_syscall_resolve_name
    boxes = {call for rule in policy["rule"] for call in rule["calls"] if number(call.encode()) >= 0}
    assert len(boxes) > 250
    assert boxes - let_through == set()


def test_the_daemon_has_no_rights_of_roots(running: None) -> None:
    pid = service.show("MainPID")
    status = dict(line.split(":\t", 1) for line in sh(f"cat /proc/{pid}/status").splitlines() if ":\t" in line)
    assert int(status["Uid"].split()[0]) == int(sh("id -u runnerd"))
    assert {status[name] for name in ("CapEff", "CapPrm", "CapBnd", "CapAmb")} == {"0" * 16}
    assert status["NoNewPrivs"] == "1"
    assert status["Seccomp"] == "2"


def test_a_box_sees_nothing_of_the_unit(running: None) -> None:
    end, output = service.run("bash", "hostname; echo /*; cat /proc/1/comm; ls /proc/sys/kernel/ostype")
    assert end["code"] == 0
    root = "/bin /dev /etc /lib /lib64 /opt /proc /sbin /tmp /usr /work"
    assert output == f"box\n{root}\ninit\n/proc/sys/kernel/ostype\n"
