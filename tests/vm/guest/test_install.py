"""scripts/install on a host without a network, and what it leaves as it was."""

import pwd
import stat
from pathlib import Path

import service
from service import sh


def test_it_is_there_and_not_running(installed: str) -> None:
    assert "runnerd 0." in installed
    assert "systemctl start runnerd" in installed
    assert service.show("UnitFileState") == "enabled"
    assert service.show("ActiveState") == "inactive"
    assert pwd.getpwnam("runnerd").pw_shell.endswith("nologin")
    assert sh("runnerd --version").startswith("runnerd 0.")
    assert sh(f"runnerd config check {service.CONFIG}")


def test_once_more_keeps_the_configuration_and_restarts(running: None) -> None:
    before = service.show("MainPID")
    text = service.CONFIG.read_text()
    service.CONFIG.write_text(text + "# mine\n")
    try:
        said = sh(f"{service.REPO}/scripts/install --wheels {service.WHEELS}")
        assert service.CONFIG.read_text() == text + "# mine\n"
    finally:
        service.CONFIG.write_text(text)
    assert "was restarted" in said
    assert service.show("ActiveState") == "active"
    assert service.show("MainPID") != before


def test_state_is_the_services_alone(running: None) -> None:
    state = Path("/var/lib/runnerd").stat()
    assert (state.st_uid, stat.S_IMODE(state.st_mode)) == (pwd.getpwnam("runnerd").pw_uid, 0o700)
