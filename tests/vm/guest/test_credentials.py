"""A secret that the configuration does not hold: the key store's URL, from a file that root alone can read."""

import json
import os
import secrets
from collections.abc import Iterator
from pathlib import Path

import pytest
import service
from service import sh

CREDENTIAL = Path("/etc/runnerd/store")
AS_THE_SERVICE = f"systemd-run --quiet --wait --pipe -p User=runnerd -p LoadCredential=store:{CREDENTIAL}"
KEYS = f"{AS_THE_SERVICE} /usr/local/bin/runnerd keys"


@pytest.fixture
def password() -> Iterator[str]:
    """A PostgreSQL server with a database of the user `keeper`, who has this password."""
    password = secrets.token_hex(16)
    cluster = sh("pg_lsclusters --no-header | cut -d' ' -f1,2").strip()
    sh(f"pg_ctlcluster {cluster} start")
    try:
        psql = "runuser -u postgres -- psql --quiet --set ON_ERROR_STOP=1"
        sh(f"{psql} -c \"CREATE ROLE keeper LOGIN PASSWORD '{password}'\" -c 'CREATE DATABASE keys OWNER keeper'")
        yield password
        sh("systemctl stop runnerd.service")
        sh(f"{psql} -c 'DROP DATABASE keys WITH (FORCE)' -c 'DROP ROLE keeper'")
    finally:
        sh(f"pg_ctlcluster {cluster} stop")


@pytest.fixture
def credential() -> Iterator[Path]:
    """The unit's LoadCredential= line, as a drop-in, for a service that wants keys."""
    serve = f"/opt/runnerd/bin/runnerd serve --config {service.CONFIG}"
    service.drop_in("zz-store", f"[Service]\nExecStart=\nExecStart={serve}\nLoadCredential=store:{CREDENTIAL}\n")
    CREDENTIAL.touch(mode=0o600)
    yield CREDENTIAL
    sh("systemctl stop runnerd.service; systemctl reset-failed runnerd.service || true")
    CREDENTIAL.unlink()
    service.remove_drop_in("zz-store")


def test_keys_are_where_the_credential_says(credential: Path, password: str) -> None:
    credential.write_text(f"postgresql://keeper:{password}@127.0.0.1/keys\n")
    assert (os.stat(credential).st_uid, os.stat(credential).st_mode & 0o777) == (0, 0o600)
    sh("systemctl start runnerd.service")
    key = json.loads(sh(f"{KEYS} create --credits 5 --json"))
    end, output = service.run("bash", "env; ls /run /; echo here", key=key["secret_key"])
    assert (end["outcome"], output[-5:]) == ("exited", "here\n")
    assert "credentials" not in output.lower()
    with pytest.raises(AssertionError, match="unauthorized"):
        service.run("bash", "echo here", key=key["secret_key"][:-1] + "x")
    assert [each["public_key"] for each in json.loads(sh(f"{KEYS} list --json"))] == [key["public_key"]]
    assert json.loads(sh("runuser -u runnerd -- runnerd keys list --json --state-dir /var/lib/runnerd")) == []
    for text in (service.journal(), sh("cat /proc/$(systemctl show --value -p MainPID runnerd)/environ")):
        assert password not in text


def test_a_store_that_cannot_be_had_is_told_without_the_password(credential: Path) -> None:
    credential.write_text("postgresql://keeper:hunter2@127.0.0.1/keys\n")  # no server listens
    sh("systemctl start runnerd.service")
    service.until(lambda: "keys cannot be checked" in service.journal("PRIORITY=3"), "the complaint")
    told = service.journal()
    assert "postgresql://keeper:***@127.0.0.1/keys" in told
    assert "hunter2" not in told
