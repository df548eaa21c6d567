"""Daemons that are measured: one of our own, with room for what the scenarios do to it, or one that runs."""

import json
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from runnerd.bench.client import Http, WebSocket
from runnerd.bench.errors import Broken, Missing

READY_WITHIN = 60.0
"""Seconds."""

REFILLED_WITHIN = 15.0
"""Seconds after which a run goes on though no box waits."""

AT_REST = 1.0
"""Seconds without a change after which no more boxes are expected, though more are wanted: they may not fit."""

SETTLING = 0.02
"""Seconds in which the box of the run before is taken down."""

SETTINGS = """\
[boxes]
max = 1000
pressure_memory = 0
pressure_cpu = 0

[auth]
mode = "open"
force_open = true

[http]
hosts = ["*"]
ping_interval = 3600

[profiles.default]
wall = 0
idle = 0
cpu = 0
output = 0
"""
"""No limit of time, output or pressure ends a measurement, nor that idle clients answer no pings; all else is as by
default."""

STOCK = re.compile(r'^runnerd_pool_(idle|wanted)\{language="([^"]*)".*\} (\d+)', re.MULTILINE)


class Server:
    """One that somebody started, at `address`; with a key where it wants one."""

    def __init__(self, address: tuple[str, int], key: str = "") -> None:
        self.address = address
        self._key = key

    def connect(self) -> WebSocket:
        connection = WebSocket(self.address)
        if self._key:
            connection.tell(type="auth", key=self._key)
        return connection

    def limits(self) -> str:
        """How it holds its boxes."""
        return self._languages()["limits"]

    def require(self, language: str) -> None:
        """Raises Missing when it has no such language."""
        for one in self._languages()["languages"]:
            if language in (one["id"], *one["aliases"]):
                if one["available"]:
                    return
                lacks = ", ".join(each["program"] for each in one["missing"])
                packages = " ".join(each["package"] for each in one["missing"])
                raise Missing(f"{one['name']} lacks {lacks}", hint=f"install {packages}")
        raise Missing(f"the daemon has no language {language}")

    def _languages(self) -> Any:
        with Http(self.address) as client:
            return json.loads(client.ask("GET", "/api/v1/languages")[1])

    def settle(self, language: str) -> None:
        """Wait until the box of the last run is gone and, where boxes of this language wait, they are there again."""
        time.sleep(SETTLING)
        begun = since = time.monotonic()
        before: list[int] = []
        with Http(self.address) as client:
            while (now := time.monotonic()) < begun + REFILLED_WITHIN:
                idle, wanted = _stock(client, language)
                if all(have >= want for have, want in zip(idle, wanted, strict=True)):
                    return
                if idle != before:
                    before, since = idle, now
                elif all(idle) and now > since + AT_REST:
                    return
                time.sleep(SETTLING)


class Daemon(Server):
    """Runs until `stop`. `ready` is how long it took from its start until /readyz answered, in seconds."""

    def __init__(self, folder: Path, limits: str, settings: str = "", host: str = "127.0.0.1") -> None:
        super().__init__((host, free_port(host)))
        self.config = folder / "runnerd.toml"
        self.config.write_text(SETTINGS + settings)
        self._log = folder / "log"
        command = [sys.executable, "-m", "runnerd", "serve", "--listen", f"{host}:{self.address[1]}"]
        command += ["--limits", limits, "--state-dir", str(folder / "state"), "--config", str(self.config)]
        with self._log.open("wb") as log:
            began = time.perf_counter()
            self._process = subprocess.Popen(command, stdout=log, stderr=log)
        try:
            self._wait_until_ready(began)
        except BaseException:
            self.stop()
            raise
        self.ready = time.perf_counter() - began

    @property
    def pid(self) -> int:
        return self._process.pid

    def reload(self, settings: str) -> None:
        """Have it read other settings, a moment later."""
        self.config.write_text(SETTINGS + settings)
        self._process.send_signal(signal.SIGHUP)

    def stop(self) -> None:
        """End it, and at once what still runs in it."""
        for _ in range(2):  # the second one ends what runs
            self._process.send_signal(signal.SIGTERM)
            time.sleep(0.01)
        try:
            self._process.wait(30)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def _wait_until_ready(self, began: float) -> None:
        while True:
            try:
                with Http(self.address) as client:
                    if client.ask("GET", "/readyz")[0] == 200:
                        return
            except OSError:
                pass
            if self._process.poll() is not None or time.perf_counter() > began + READY_WITHIN:
                raise Broken(f"the daemon does not serve: {self._log.read_text()[-2000:]}")
            time.sleep(0.002)


@contextmanager
def serving(folder: Path, limits: str, settings: str = "", host: str = "127.0.0.1") -> Generator[Daemon]:
    """A daemon while the block runs. Raises Broken when it does not start."""
    daemon = Daemon(folder, limits, settings, host)
    try:
        yield daemon
    finally:
        daemon.stop()


def _stock(client: Http, language: str) -> tuple[list[int], list[int]]:
    """How many boxes of each kind wait, and how many should."""
    counts: dict[str, list[int]] = {"idle": [], "wanted": []}
    for what, of, count in STOCK.findall(client.ask("GET", "/metrics")[1].decode()):
        if of == language:
            counts[what].append(int(count))
    return counts["idle"], counts["wanted"]


def free_port(host: str) -> int:
    """One that nobody listens on just now."""
    with socket.create_server((host, 0)) as probe:
        return probe.getsockname()[1]
