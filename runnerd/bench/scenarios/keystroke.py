"""A key to its echo, with nobody else there."""

import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack

from runnerd.bench import typist
from runnerd.bench.daemon import serving
from runnerd.bench.results import Aim, Series
from runnerd.bench.scenario import Setting
from runnerd.bench.turns import Turn, take_turns
from runnerd.bench.typist import Typist

ABOUT = "Keystroke echo of a box's terminal, against a plain trio-websocket echo, terminado and ttyd"
AIMS = (
    Aim("p50 / plain echo", "runnerd", "plain echo", 0.5, 1.15),
    Aim("p95 / plain echo", "runnerd", "plain echo", 0.95),
    Aim("p99 / plain echo", "runnerd", "plain echo", 0.99, 1.2),
    Aim("p50 / terminado", "runnerd", "terminado", 0.5),
    Aim("p50 / ttyd", "runnerd", "ttyd", 0.5),
    Aim("p99 / ttyd", "runnerd", "ttyd", 0.99),
)
PAUSE = 0.002
"""Seconds between keys: what a key sets off after its echo is not the next one's."""


def measure(setting: Setting) -> Sequence[Series]:
    with ExitStack() as stack:
        daemon = stack.enter_context(serving(setting.subfolder("daemon"), setting.limits))
        turns = [
            _turn("runnerd", stack.enter_context(typist.boxed(daemon))),
            _turn("plain echo", stack.enter_context(typist.plain())),
        ]
        for name, server in (("terminado", typist.terminado), ("ttyd", typist.ttyd)):
            if peer := setting.peer(name, lambda server=server: stack.enter_context(server())):
                turns.append(_turn(name, peer))
        return take_turns(turns, setting.effort.some(40), warm_up=50)


def _turn(name: str, keys: Typist) -> Turn:
    def turn() -> Mapping[str, float]:
        taken = keys.type()
        time.sleep(PAUSE)
        return {name: taken}

    return turn
