"""What bombs of forks, memory and CPU time, all at once, do to somebody else's keystrokes.

`python -m bench.bombs [--samples N] [--url URL] [--json]`: with a daemon of its own, or with the one at URL, which must
be open. A key is timed to the terminal's echo (the daemon's work alone) and to the answer of the program, which lives
in a box as the bombs do. Every ratio is of the same keys beside bombs and in quiet, in one run. Nothing here fails: it
prints.
"""

import argparse
import json
import struct
import tempfile
import time
from pathlib import Path
from typing import Any

import trio
import trio_websocket

BOMBS = {
    "forks": "import os\nwhile True:\n  try: os.fork()\n  except OSError: pass",
    "memory": "data = []\nwhile True: data.append(bytearray(1 << 20))",
    "cpu": "while True: pass",
}
MEMORY = 128 << 20
"""Bytes of a bomb's box."""

TYPED_INTO = ["sh", "-c", "stty -icanon min 1; exec cat"]
"""Each key comes back twice: from the terminal and from the program. A line's length is not bounded so."""

KEY = struct.pack(">BI", 0, 1) + b"x"
HEADER = struct.calcsize(">BIQ")
PAUSE = 0.02
"""Seconds between keys: a fast typist's."""

UNCOUNTED = 20
"""Keys after each change, while what begins or ends settles."""

Connection = trio_websocket.WebSocketConnection


async def measure(url: str, samples: int) -> dict[str, float]:
    """Type into one box, in quiet, beside the bombs, and in quiet again: milliseconds, ratios, how many bombs ended.

    `url` is the daemon's, without a slash at its end. The bombs are lit again as often as they end; that of memory ends
    at least once while the keys are typed, and more than `samples` are, if need be.
    """
    ended: dict[str, int] = {}
    async with _connect(url) as typist:
        await typist.send_message(json.dumps({"type": "start", "argv": TYPED_INTO}))
        while json.loads(await typist.get_message()).get("state") != "waiting":
            pass
        await _type(typist, UNCOUNTED)
        quiet = await _type(typist, samples // 2)
        async with trio.open_nursery() as nursery:
            for code in BOMBS.values():
                await nursery.start(_keep_lit, url, code, ended)
            while not ended.get("memory"):
                await trio.sleep(PAUSE)
            ended.clear()
            busy: list[tuple[float, float]] = []
            while len(busy) < samples or not ended.get("memory"):
                busy += await _type(typist, 20)
            nursery.cancel_scope.cancel()
        await _type(typist, UNCOUNTED)
        quiet += await _type(typist, samples - len(quiet))
    figures: dict[str, float] = {}
    for number, what in enumerate(("echo", "answer")):
        for name, at in (("p50", 0.5), ("p99", 0.99)):
            calm, beside = (_quantile([key[number] for key in keys], at) for keys in (quiet, busy))
            aim = " (aim 2)" if (what, name) == ("echo", "p99") else ""
            figures |= {
                f"{what} {name} quiet, ms": calm * 1e3,
                f"{what} {name} beside bombs, ms": beside * 1e3,
                f"{what} {name} ratio{aim}": beside / calm,
            }
    return figures | {f"bombs ended: {outcome}": count for outcome, count in sorted(ended.items())}


async def _type(typist: Connection, samples: int) -> list[tuple[float, float]]:
    """Seconds from each key to its echo, and to the program's answer."""
    taken: list[tuple[float, float]] = []
    for _ in range(samples):
        began, moments = time.perf_counter(), list[float]()
        await typist.send_message(KEY)
        while len(moments) < 2:
            message = await typist.get_message()
            if isinstance(message, bytes):
                moments += [time.perf_counter() - began] * (len(message) - HEADER)
        taken.append((moments[0], moments[1]))
        await trio.sleep(PAUSE)
    return taken


async def _keep_lit(url: str, code: str, ended: dict[str, int], task_status: trio.TaskStatus[None]) -> None:
    """One bomb after the other, counted by outcome; started when the first one runs."""
    async with _connect(url) as connection:
        while True:
            start = {"type": "start", "language": "python", "code": code, "mode": "pipes", "limits": {"memory": MEMORY}}
            await connection.send_message(json.dumps(start))
            event = await _event(connection)
            if event["type"] == "started":
                task_status.started()
                task_status = trio.TASK_STATUS_IGNORED
                while (event := await _event(connection))["type"] != "exit":
                    pass
                ended[event["outcome"]] = ended.get(event["outcome"], 0) + 1
            elif event.get("code") == "busy":  # the host is under pressure
                await trio.sleep(event.get("retry_after") or PAUSE)
            else:
                raise RuntimeError(f"a bomb was not lit: {event}")


async def _event(connection: Connection) -> dict[str, Any]:
    while isinstance(message := await connection.get_message(), bytes):
        pass
    return json.loads(message)


def _quantile(values: list[float], at: float) -> float:
    return sorted(values)[min(len(values) - 1, int(len(values) * at))]


def _connect(url: str) -> Any:
    address = f"{url.replace('http', 'ws', 1)}/api/v1/terminal"
    return trio_websocket.open_websocket_url(address, subprotocols=["runnerd.v1"])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--samples", type=int, default=300)
    parser.add_argument("--url", help="of a daemon that runs")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    if options.url:
        figures = trio.run(measure, options.url, options.samples)
    else:
        from runnerd.bench.daemon import serving

        with tempfile.TemporaryDirectory() as name, serving(Path(name), "auto") as daemon:
            figures = trio.run(measure, f"http://127.0.0.1:{daemon.address[1]}", options.samples)
    if options.json:
        print(json.dumps(figures))
        return
    for label, value in figures.items():
        print(f"{label:<28} {value:10.3f}")


if __name__ == "__main__":
    main()
