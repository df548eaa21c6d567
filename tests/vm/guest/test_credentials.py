"""A secret that the configuration does not hold: the key store's URL, from a file that root alone can read."""

import json
import os
import secrets
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import service
from service import sh

CREDENTIAL = Path("/etc/runnerd/store")
AS_THE_SERVICE = f"systemd-run --quiet --wait --pipe -p User=runnerd -p LoadCredential=store:{CREDENTIAL}"
KEYS = f"{AS_THE_SERVICE} /usr/local/bin/runnerd keys"


@contextmanager
def server(password: str) -> Generator[None]:
    """PostgreSQL with a database of the user `keeper`, who has this password."""
    cluster = sh("pg_lsclusters --no-header | cut -d' ' -f1,2").strip()
    sh(f"pg_ctlcluster {cluster} start")
    try:
        psql = "runuser -u postgres -- psql --quiet --set ON_ERROR_STOP=1"
        sh(f"{psql} -c \"CREATE ROLE keeper LOGIN PASSWORD '{password}'\" -c 'CREATE DATABASE keys OWNER keeper'")
        yield
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


def test_keys_are_where_the_credential_says(credential: Path) -> None:
    """As soon as the server is there. What is told of one that is not, and all else, does not hold the password."""
    password = secrets.token_hex(16)
    credential.write_text(f"postgresql://keeper:{password}@127.0.0.1/keys\n")
    assert (os.stat(credential).st_uid, os.stat(credential).st_mode & 0o777) == (0, 0o600)
    sh("systemctl start runnerd.service")
    service.until(lambda: "keys cannot be checked" in service.journal("PRIORITY=3"), "the complaint")
    with server(password):
        key = json.loads(sh(f"{KEYS} create --credits 5 --json"))
        end, output = service.run("bash", "env; ls /run /; echo here", key=key["secret_key"])
        assert (end["outcome"], output[-5:]) == ("exited", "here\n")
        assert "credentials" not in output.lower()
        with pytest.raises(AssertionError, match="unauthorized"):
            service.run("bash", "echo here", key=key["secret_key"][:-1] + "x")
        assert [each["public_key"] for each in json.loads(sh(f"{KEYS} list --json"))] == [key["public_key"]]
        assert not Path("/var/lib/runnerd/runnerd.sqlite3").exists()
        environment = sh(f"cat /proc/{service.show('MainPID')}/environ")
        sh("systemctl stop runnerd.service")
    told = service.journal()
    assert "postgresql://keeper:***@127.0.0.1/keys" in told
    assert password not in told + environment
