"""Starts and stops a real daemon for tests."""

import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

LIMITS = os.environ.get("RUNNERD_TEST_LIMITS", "auto")
BACKEND = os.environ.get("RUNNERD_TEST_BACKEND", "bubblewrap")

READY_WITHIN = 60.0
STOPPED_WITHIN = 60.0

CONFIG = """\
[boxes]
pressure_memory = 0
pressure_cpu = 0

[profiles.default]
output = 1073741824
"""
"""Room for a flood that lasts until its Ctrl+C, however slow this machine is; and it may be busy with other things."""


@dataclass(frozen=True)
class Daemon:
    """`url` ends without a slash; `log` is what the daemon writes to stdout and stderr."""

    url: str
    port: int
    pid: int
    state_dir: Path
    log: Path


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def wait_until_ready(process: subprocess.Popen[bytes], url: str, log: Path) -> None:
    deadline = time.monotonic() + READY_WITHIN
    while True:
        status = process.poll()
        assert status is None, f"runnerd serve ended with {status}:\n{log.read_text()}"
        try:
            with urllib.request.urlopen(f"{url}/healthz", timeout=5) as response:
                assert response.status == 200
                return
        except (urllib.error.URLError, ConnectionError, TimeoutError) as error:
            if time.monotonic() > deadline:
                raise AssertionError(f"not ready after {READY_WITHIN:g} s ({error}):\n{log.read_text()}") from error
        time.sleep(0.05)


@contextmanager
def serve(folder: Path, auth: str = "open", settings: str = CONFIG, **environment: str) -> Generator[Daemon]:
    """A daemon on a free port of 127.0.0.1 that keeps its files in `folder`; ready when the block begins. `settings`
    are TOML."""
    log, config, state_dir = folder / "log", folder / "runnerd.toml", folder / "state"
    config.write_text(settings)
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    runnerd = Path(sys.executable).with_name("runnerd")
    argv = [runnerd, "serve", "--listen", f"127.0.0.1:{port}", "--limits", LIMITS, "--backend", BACKEND, "--auth", auth]
    argv += ["--state-dir", state_dir, "--config", config]
    with (
        log.open("wb") as output,
        subprocess.Popen(argv, stdout=output, stderr=output, env=os.environ | environment) as process,
    ):
        try:
            wait_until_ready(process, url, log)
            yield Daemon(url, port, process.pid, state_dir, log)
        finally:
            process.send_signal(signal.SIGTERM)
            try:
                process.wait(STOPPED_WITHIN)
            except subprocess.TimeoutExpired:
                process.kill()
                raise
