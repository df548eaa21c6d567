"""Keys against a real daemon with real programs, by the commands that an operator types, in both kinds of store."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import ClientConnection, connect

from tests.e2e.serving import CONFIG, Daemon, serve

PATIENCE = 30
PRICES = "[prices]\nrun = 2\n"
RUNNERD = Path(sys.executable).with_name("runnerd")


class Served:
    """A daemon that wants keys, and the commands for its store."""

    def __init__(self, daemon: Daemon, environment: dict[str, str]) -> None:
        self.daemon = daemon
        self._environment = environment

    def keys(self, *words: str) -> Any:
        argv = [RUNNERD, "keys", *words, "--json", "--state-dir", self.daemon.state_dir]
        done = subprocess.run(argv, env=os.environ | self._environment, capture_output=True, check=True, timeout=60)
        return json.loads(done.stdout)

    def dial(self, **headers: str) -> ClientConnection:
        url = f"ws://127.0.0.1:{self.daemon.port}/api/v1/terminal"
        return connect(url, subprotocols=["runnerd.v1"], additional_headers=headers)  # type: ignore[list-item]


@pytest.fixture(params=["sqlite", "postgresql"])
def served(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Served]:
    environment: dict[str, str] = {}
    if request.param == "postgresql":
        environment["RUNNERD_STORE"] = request.getfixturevalue("postgres").new_database()
    with serve(tmp_path, "keys", CONFIG + PRICES, **environment) as daemon:
        yield Served(daemon, environment)


def start(client: ClientConnection, *argv: str, **more: Any) -> dict[str, Any]:
    """The text frame that answers."""
    client.send(json.dumps({"type": "start", "argv": argv, **more}))
    return json.loads(client.recv(PATIENCE))


def test_a_key_from_its_making_to_its_end(served: Served) -> None:
    with served.dial() as client:
        assert start(client, "true")["code"] == "unauthorized"
    key = served.keys("create", "--credits", "5", "--runs-at-a-time", "1")
    with served.dial(Authorization=f"Bearer {key['secret_key']}") as client:
        assert start(client, "sleep", "600")["type"] == "started"
        second = start(client, "true", stream=2)
        assert (second["code"], second["retry_after"]) == ("quota", 1)
        rotated = served.keys("rotate", key["public_key"])
        began = time.monotonic()
        told: list[Any] = []
        with pytest.raises(ConnectionClosed) as closed:
            while True:
                told.append(json.loads(client.recv(PATIENCE)))
        assert closed.value.rcvd is not None
        assert closed.value.rcvd.code == 4401
        assert time.monotonic() - began < 20
        assert "unauthorized" in [each.get("code") for each in told]
    with served.dial(**{"X-API-Key": key["secret_key"]}) as client, pytest.raises(ConnectionClosed) as closed:
        while True:
            client.recv(PATIENCE)
    with served.dial() as client:
        client.send(json.dumps({"type": "auth", "key": rotated["secret_key"]}))
        assert start(client, "true")["type"] == "started"
    served.keys("revoke", key["public_key"])
    with served.dial() as client:
        client.send(json.dumps({"type": "auth", "key": rotated["secret_key"]}))
        assert json.loads(client.recv(PATIENCE))["code"] == "unauthorized"
    with pytest.raises(InvalidStatus) as refused:
        served.dial(Authorization="Basic eA==")
    assert refused.value.response.status_code == 401
    (listed,) = served.keys("list")
    assert (listed["credits"], listed["revoked"]) == (1, True)  # two runs; what the quota refused cost nothing
    log = served.daemon.log.read_text()
    assert f"key={key['public_key']}" in log
    assert key["secret_key"] not in log
    assert rotated["secret_key"] not in log


def test_a_run_is_paid_for_unless_it_could_not_start(served: Served) -> None:
    key = served.keys("create", "--credits", "3")
    with served.dial(Authorization=f"Bearer {key['secret_key']}") as client:
        answer = start(client, "/no/such/program")
        assert (answer["type"], answer["outcome"]) == ("exit", "failed")
        deadline = time.monotonic() + PATIENCE
        while len(shown := served.keys("show", key["public_key"])["ledger"]) < 3 and time.monotonic() < deadline:
            pass  # it is given back after the end was told
        session = start(client, "true")["session"]
        while json.loads(client.recv(PATIENCE))["type"] != "exit":
            pass
        assert start(client, "true")["code"] == "no_credits"
    assert [(line["amount"], line["reason"]) for line in shown] == [(2, "refund"), (-2, "run"), (3, "created")]
    assert shown[0]["subject"] == shown[1]["subject"] != session
    (newest, *_) = served.keys("show", key["public_key"])["ledger"]
    assert (newest["amount"], newest["reason"], newest["subject"]) == (-2, "run", session)
