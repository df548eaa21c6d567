"""Measures what docs/specification.md promises: `python -m bench.measure [--runs N] [--json]`.

Every figure is a ratio of two things done in turns in one run on one machine, or an absolute time where the promise is
one. Nothing here fails: it prints.
"""

import argparse
import json
import os
import signal
import statistics
import struct
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any
from urllib.request import urlopen

import trio
import trio_websocket

RUNNERD = Path(sys.executable).with_name("runnerd")
HELLO = "print('hello')\n"
OPTIONS = ("--limits", "auto", "--auth", "open")
PYTHON = "/usr/bin/python3"
INPUT = struct.Struct(">BI")


class Daemon:
    """A `runnerd serve` of our own, on a free port of loopback."""

    def __init__(self, folder: Path) -> None:
        import socket

        with socket.create_server(("127.0.0.1", 0)) as probe:
            self.port = probe.getsockname()[1]
        began = time.perf_counter()
        self._process = subprocess.Popen(
            [RUNNERD, "serve", "--listen", f"127.0.0.1:{self.port}", *OPTIONS, "--state-dir", str(folder)],
            stderr=subprocess.DEVNULL,
        )
        while True:
            try:
                urlopen(f"http://127.0.0.1:{self.port}/healthz").close()
                break
            except OSError:
                time.sleep(0.002)
        self.ready = time.perf_counter() - began

    def stop(self) -> None:
        self._process.send_signal(signal.SIGTERM)
        self._process.wait(60)


async def first_byte(connection: trio_websocket.WebSocketConnection, stream: int) -> float:
    """Seconds from sending `start` to the program's first byte of output; the run is seen to its end."""
    began = time.perf_counter()
    await connection.send_message(json.dumps({"type": "start", "stream": stream, "language": "python", "code": HELLO}))
    first = 0.0
    while True:
        message = await connection.get_message()
        if isinstance(message, bytes):
            first = first or time.perf_counter() - began
        elif json.loads(message)["type"] in ("exit", "error"):
            assert first, message
            return first


def bare_python(file: Path) -> float:
    """Seconds from the start of a bare `python3 hello.py` to its first byte."""
    began = time.perf_counter()
    with subprocess.Popen([PYTHON, str(file)], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.read(1)
        taken = time.perf_counter() - began
        process.stdout.read()
    return taken


async def cold_runs(port: int, runs: int, folder: Path) -> dict[str, float]:
    file = folder / "hello.py"
    file.write_text(HELLO)
    ours: list[float] = []
    bare: list[float] = []
    async with connect(port) as connection:
        for number in range(runs + 5):
            taken = await first_byte(connection, number)
            await trio.sleep(0.02)  # the last box is being taken down
            host = bare_python(file)
            if number >= 5:
                ours.append(taken)
                bare.append(host)
    return {
        "cold run, ms": statistics.median(ours) * 1e3,
        "bare python3, ms": statistics.median(bare) * 1e3,
        "ratio (aim 1.8)": statistics.median(ours) / statistics.median(bare),
    }


async def keystrokes(port: int, runs: int) -> dict[str, float]:
    """Echo of one key by a box's terminal, against a plain trio-websocket echo server in a process of its own."""
    with subprocess.Popen([sys.executable, "-m", "bench.echo"], stdout=subprocess.PIPE, text=True) as echo:
        assert echo.stdout is not None
        plain_port = int(echo.stdout.readline())
        boxed: list[float] = []
        plain: list[float] = []
        try:
            async with (
                connect(port) as box,
                trio_websocket.open_websocket_url(f"ws://127.0.0.1:{plain_port}/") as other,
            ):
                await box.send_message(json.dumps({"type": "start", "stream": 1, "argv": ["cat"]}))
                while json.loads(await box.get_message()).get("state") != "waiting":
                    pass
                key = INPUT.pack(0, 1) + b"x"
                for number in range(runs + 50):
                    if number % 100 == 99:  # a terminal's line has room for 4,095
                        await timed(box, INPUT.pack(0, 1) + b"\x15")
                        await trio.sleep(0.02)
                    taken = await timed(box, key)
                    host = await timed(other, key)
                    if number >= 50:
                        boxed.append(taken)
                        plain.append(host)
                    await trio.sleep(0.002)
        finally:
            echo.kill()
    figures: dict[str, float] = {}
    for name, at, aim in (("p50", 0.5, 1.3), ("p99", 0.99, 1.5)):
        one, two = quantile(boxed, at), quantile(plain, at)
        figures |= {
            f"box {name}, us": one * 1e6,
            f"plain {name}, us": two * 1e6,
            f"ratio {name} (aim {aim})": one / two,
        }
    return figures


async def timed(connection: trio_websocket.WebSocketConnection, frame: bytes) -> float:
    """Seconds from a frame to the next binary one."""
    began = time.perf_counter()
    await connection.send_message(frame)
    while not isinstance(await connection.get_message(), bytes):
        pass
    return time.perf_counter() - began


def quantile(values: list[float], at: float) -> float:
    return sorted(values)[min(len(values) - 1, int(len(values) * at))]


def connect(port: int) -> Any:
    url = f"ws://127.0.0.1:{port}/api/v1/terminal"
    return trio_websocket.open_websocket_url(url, subprotocols=["runnerd.v1"])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=60)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    report: dict[str, dict[str, float]] = {}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        starts: list[float] = []
        for _ in range(5):
            daemon = Daemon(folder)
            starts.append(daemon.ready)
            daemon.stop()
        report["daemon start to ready (aim under 0.5 s)"] = {"median, s": statistics.median(starts)}
        daemon = Daemon(folder)
        measures: dict[str, Callable[[], Coroutine[Any, Any, dict[str, float]]]] = {
            "cold run to first byte over WebSocket": lambda: cold_runs(daemon.port, options.runs, folder),
            "keystroke echo": lambda: keystrokes(daemon.port, options.runs * 10),
        }
        try:
            for title, measure in measures.items():
                report[title] = trio.run(measure)
        finally:
            daemon.stop()
    if options.json:
        print(json.dumps(report))
        return
    print(f"{os.cpu_count()} cores, load {os.getloadavg()[0]:.2f}, {options.runs} runs")
    for title, figures in report.items():
        print(title)
        for label, value in figures.items():
            print(f"  {label:<24} {value:10.3f}")


if __name__ == "__main__":
    main()
