"""What `runnerd doctor` makes of hosts that are not this one."""

import os

import pytest

from runnerd.cli import doctor

RESTRICTION = "/proc/sys/kernel/apparmor_restrict_unprivileged_userns"


def apparmor(monkeypatch: pytest.MonkeyPatch, restricted: str, profile: str, uid: int) -> list[doctor.Finding]:
    files = {RESTRICTION: restricted, "/proc/self/attr/apparmor/current": profile}
    monkeypatch.setattr(doctor, "_read", files.get)
    monkeypatch.setattr(os, "geteuid", lambda: uid)
    return [finding for finding in doctor._user_namespaces() if finding.check == "AppArmor"]


def test_the_profile_to_install_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    (finding,) = apparmor(monkeypatch, "1", "unconfined", 1000)
    assert finding.grade == "missing"
    assert "systemd/apparmor/runnerd" in finding.fix


def test_roots_boxes_are_built_by_others(monkeypatch: pytest.MonkeyPatch) -> None:
    (finding,) = apparmor(monkeypatch, "1", "unconfined", 0)
    assert finding.grade == "missing"


@pytest.mark.parametrize(("profile", "uid"), [("runnerd (unconfined)", 997), ("runnerd (unconfined)", 0)])
def test_who_is_not_restricted_is_told_so(monkeypatch: pytest.MonkeyPatch, profile: str, uid: int) -> None:
    (finding,) = apparmor(monkeypatch, "1", profile, uid)
    assert finding.grade == "ok"


def test_without_the_restriction_nothing_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    assert apparmor(monkeypatch, "0", "unconfined", 1000) == []
