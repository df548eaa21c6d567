"""How much later the daemon answers while boxes compute: do its turns, and other people's keys, come before busy boxes?

`python -m bench.busy [--url URL [--key KEY]] [--boxes N] [--rounds N] [--json FILE]`: with a daemon of its own, or with
the one at URL. In turns, with nothing else running and beside boxes that only burn CPU time (twice as many as this
machine has CPUs), a key typed into `cat` is timed to its echo, and a warm Python hello to its first byte of output.
Every ratio is of both in one run. Nothing here fails because it is slow: it prints.
"""

import argparse
import gc
import json
import os
import select
import tempfile
import time
from collections.abc import Generator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from urllib.parse import urlsplit

import msgspec

from runnerd.bench import hello, runner, tables, typist
from runnerd.bench.client import WebSocket
from runnerd.bench.daemon import Server, serving
from runnerd.bench.errors import Broken
from runnerd.bench.results import Aim, Result, Series, result

BURN = "print('up', flush=True)\nwhile True: pass"
HELLO = "print('hello')"
KEYS, HELLOS = 30, 4
"""In each part of a round."""
PAUSE = 0.02
"""Seconds between keys: a fast typist's."""
SETTLING = 0.5
"""Seconds after boxes began to burn, or ended, in which nothing is measured."""

AIMS = tuple(
    Aim(f"{what}, {name}, busy / quiet", f"{what}, busy", f"{what}, quiet", at)
    for what in ("key", "hello")
    for name, at in (("p50", 0.5), ("p95", 0.95), ("p99", 0.99))
)


def measure(server: Server, boxes: int, rounds: int) -> tuple[Result, float]:
    """What was measured, and how many CPUs the boxes that burn had on average. Raises Broken, Missing, OSError."""
    found: dict[str, list[float]] = {}
    burnt: list[float] = []
    with ExitStack() as stack:
        probe = stack.enter_context(typist.boxed(server))
        runs = stack.enter_context(server.connect())
        turn = hello.boxed(server, runs, "python", lambda: HELLO)

        def part(state: str, others: Sequence[WebSocket]) -> None:
            keys, hellos = (found.setdefault(f"{what}, {state}", []) for what in ("key", "hello"))
            for number in range(KEYS + HELLOS):
                if number < KEYS:
                    keys.append(probe.type())
                    time.sleep(PAUSE)
                else:
                    hellos.append(turn()["runnerd, first byte"])
                _hear(probe.connection, runs, *others)

        part("warm-up", ())
        del found["key, warm-up"], found["hello, warm-up"]
        gc.collect()
        gc.disable()
        stack.callback(gc.enable)
        for _ in range(rounds):
            part("quiet", ())
            with _burning(server, boxes, burnt) as others:
                part("busy", others)
            time.sleep(SETTLING)
            server.settle("python")
    series = [Series(name, "s", tuple(samples)) for name, samples in found.items()]
    about = (
        f"A key to its echo, and a warm Python hello to its first byte, in quiet and beside {boxes} boxes that compute"
    )
    return result("busy", about, series, AIMS, ()), sum(burnt) / len(burnt)


@contextmanager
def _burning(server: Server, boxes: int, burnt: list[float]) -> Generator[list[WebSocket]]:
    """Boxes that compute while the block runs; then how many CPUs they had together is added to `burnt`."""
    with ExitStack() as stack:
        others = [stack.enter_context(server.connect()) for _ in range(boxes)]
        for one in others:
            one.tell(type="start", language="python", code=BURN, mode="pipes")
        for one in others:
            while not isinstance(message := one.receive(), bytes):
                _refuse_end(message)
        time.sleep(SETTLING)
        yield others
        for one in others:
            one.tell(type="kill", stream=1)
        burnt.append(sum(map(_cpus, others)))


def _cpus(connection: WebSocket) -> float:
    """How many CPUs a program had that was told to end."""
    while True:
        message = connection.receive()
        if isinstance(message, str) and (told := json.loads(message))["type"] == "exit":
            return told["usage"]["cpu"] / told["usage"]["wall"]


def _hear(*connections: WebSocket) -> None:
    """Take what has come, so that pings are answered."""
    for one in select.select(connections, [], [], 0)[0]:
        for message in one.hear():
            _refuse_end(message)


def _refuse_end(message: str | bytes) -> None:
    """Raises Broken when a program has ended or was not started: what comes then would be taken for quiet."""
    if isinstance(message, str) and json.loads(message)["type"] in ("exit", "error"):
        raise Broken(f"a program did not run on: {message}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--url", type=urlsplit, help="of a daemon that runs, such as http://127.0.0.1:8080")
    parser.add_argument("--key", default="", help="its key, where it wants one")
    parser.add_argument("--boxes", type=int, default=2 * (os.cpu_count() or 1), help="that compute: two for each CPU")
    parser.add_argument("--rounds", type=int, default=10, help=f"of {KEYS} keys and {HELLOS} hellos in either state")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all samples as well")
    options = parser.parse_args()
    print(tables.where(runner.machine()), flush=True)
    with ExitStack() as stack:
        if options.url:
            server = Server((options.url.hostname, options.url.port or 80), options.key)
        else:
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="runnerd-bench-")))
            server = stack.enter_context(serving(folder, "auto"))
        limits = server.limits()
        found, cpus = measure(server, options.boxes, options.rounds)
    print(tables.shown(found))
    print(f"  limits {limits}; the boxes that compute had {cpus:.2f} CPUs")
    if options.json:
        options.json.write_bytes(msgspec.json.encode(found))


if __name__ == "__main__":
    main()
