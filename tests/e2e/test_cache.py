"""The cache of compile steps behind real keys: nobody gets what another key's box compiled."""

import json
import subprocess
import sys
import time
import urllib.request
from pathlib import Path
from typing import Any

from websockets.sync.client import connect

from tests.e2e.serving import CONFIG, Daemon, serve

PATIENCE = 30
CODE = '#include <stdio.h>\nint main(void) { int unused; puts("hello"); return 3; }\n'


def new_key(daemon: Daemon) -> str:
    argv = [Path(sys.executable).with_name("runnerd"), "keys", "create", "--credits", "9", "--json"]
    done = subprocess.run([*argv, "--state-dir", daemon.state_dir], capture_output=True, check=True, timeout=60)
    return json.loads(done.stdout)["secret_key"]


def compiles(daemon: Daemon, key: str | None) -> bool:
    """Whether a run with this key goes through the compiler. What it does is the same in any case."""
    headers = {"Authorization": f"Bearer {key}"} if key is not None else {}
    url = f"ws://127.0.0.1:{daemon.port}/api/v1/terminal"
    written = b""
    with connect(url, subprotocols=["runnerd.v1"], additional_headers=headers) as client:  # type: ignore[list-item]
        client.send(json.dumps({"type": "start", "language": "c", "code": CODE}))
        while not isinstance(frame := client.recv(PATIENCE), str) or json.loads(frame)["type"] != "exit":
            written += frame if isinstance(frame, bytes) else b""
    end: dict[str, Any] = json.loads(frame)
    assert end["code"] == 3
    assert b"unused variable" in written
    assert written.endswith(b"hello\r\n")
    return "compile" in end["timings"]


def until_kept(daemon: Daemon, count: int) -> None:
    """Keeping goes on when a run is over; nothing tells when it is done."""
    deadline = time.monotonic() + PATIENCE
    folder = daemon.state_dir / "cache" / "compiled"
    while len([file for file in folder.glob("*") if not file.name.startswith(".")]) < count:
        assert time.monotonic() < deadline
        time.sleep(0.01)


def metric(daemon: Daemon, name: str) -> int:
    with urllib.request.urlopen(f"{daemon.url}/metrics", timeout=PATIENCE) as response:
        lines = response.read().decode().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(f"runnerd_{name} "))


def test_each_key_has_its_own(tmp_path: Path) -> None:
    with serve(tmp_path, "keys") as daemon:
        one, other = new_key(daemon), new_key(daemon)
        assert compiles(daemon, one)
        until_kept(daemon, 1)
        assert not compiles(daemon, one)
        assert compiles(daemon, other)
        until_kept(daemon, 2)
        assert not compiles(daemon, other)
        assert (metric(daemon, "compilations_total"), metric(daemon, "compilations_spared_total")) == (2, 2)


def test_without_a_key_there_is_none_unless_all_share_it(tmp_path: Path) -> None:
    with serve(tmp_path, "open") as daemon:
        assert compiles(daemon, None)
        assert compiles(daemon, None)
        assert not (daemon.state_dir / "cache" / "compiled").exists()
    with serve(tmp_path, "open", f"{CONFIG}[cache]\nshared = true\n") as daemon:
        assert compiles(daemon, None)
        until_kept(daemon, 1)
        assert not compiles(daemon, None)
        assert not compiles(daemon, new_key(daemon))
