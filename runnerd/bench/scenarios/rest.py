"""Python's hello by a request over a connection that is kept alive, and over a WebSocket."""

import json
import time
from collections.abc import Mapping, Sequence

from runnerd.bench import client
from runnerd.bench.client import Http
from runnerd.bench.daemon import serving
from runnerd.bench.errors import Broken
from runnerd.bench.results import Aim, Series
from runnerd.bench.scenario import Setting
from runnerd.bench.turns import take_turns

ABOUT = "Python hello by POST over HTTP keep-alive, against the same run on pipes over WebSocket, to its exit frame"
AIMS = (Aim("request / WebSocket", "request", "WebSocket", aim=1.3),)
HELLO = "print('hello')\n"


def measure(setting: Setting) -> Sequence[Series]:
    body = json.dumps({"language": "python", "code": HELLO}).encode()

    def request() -> Mapping[str, float]:
        began = time.perf_counter()
        status, answer = http.ask("POST", "/api/v1/execute", body)
        taken = time.perf_counter() - began
        if status != 200 or json.loads(answer)["stdout"] != "hello\n":
            raise Broken(f"the request was answered by {status}: {answer[:500]!r}")
        daemon.settle("python")
        return {"request": taken}

    def websocket() -> Mapping[str, float]:
        taken = client.run(connection, b"hello", language="python", code=HELLO, mode="pipes")
        daemon.settle("python")
        return {"WebSocket": taken.exit}

    with (
        serving(setting.subfolder("daemon"), setting.limits) as daemon,
        daemon.connect() as connection,
        Http(daemon.address) as http,
    ):
        return take_turns([request, websocket], setting.effort.runs, warm_up=5)
