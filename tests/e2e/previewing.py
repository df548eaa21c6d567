"""A space with servers in it, seen by preview: for tests with and without a browser."""

import json
import time
import urllib.error
import urllib.request
from collections.abc import Generator
from contextlib import contextmanager
from typing import Any

from websockets.sync.client import ClientConnection, connect

from tests.e2e.serving import Daemon

PATIENCE = 60.0

SITE = '''\
"""Files of the folder; below events, one for each tenth of a second; and an echo for WebSockets."""
import base64, hashlib, http.server, time

class Handler(http.server.SimpleHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        if self.headers.get("Upgrade", "").lower() == "websocket":
            self.echo()
        elif self.path.startswith("/events"):
            self.events()
        else:
            super().do_GET()

    def do_POST(self):
        data = self.rfile.read(int(self.headers["Content-Length"]))
        self.send_response(200)
        self.send_header("Content-Length", str(len(data)))
        self.send_header("Set-Cookie", "stolen=1; Path=/")
        self.end_headers()
        self.wfile.write(data[::-1])

    def events(self):
        self.close_connection = True
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.end_headers()
        for number in range(1, 1000):
            self.wfile.write(b"data: event %d\\n\\n" % number)
            time.sleep(0.1)

    def echo(self):
        self.close_connection = True
        key = self.headers["Sec-WebSocket-Key"] + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
        self.send_response(101)
        self.send_header("Upgrade", "websocket")
        self.send_header("Connection", "Upgrade")
        self.send_header("Sec-WebSocket-Accept", base64.b64encode(hashlib.sha1(key.encode()).digest()).decode())
        self.end_headers()
        while head := self.rfile.read(2):
            size = head[1] & 127
            mask = self.rfile.read(4)
            data = bytes(byte ^ mask[at % 4] for at, byte in enumerate(self.rfile.read(size)))
            self.wfile.write(bytes([head[0], size]) + data)
            if head[0] & 15 == 8:
                return

http.server.ThreadingHTTPServer(("127.0.0.1", 3000), Handler).serve_forever()
'''


class Inside:
    """Its host."""

    def __init__(self, daemon: Daemon, connection: ClientConnection) -> None:
        self._daemon, self._connection = daemon, connection
        self._ask("init", type="init")

    def write(self, path: str, content: str) -> None:
        self._send(type="cmd", command={"type": "write"}, path=path, content=content)

    def start(self, command: str) -> None:
        """A server that goes on. nohup would come too late for a command line that ends at once."""
        self.run(f"trap '' HUP; {command} >log 2>&1 </dev/null &")

    def run(self, command: str) -> str:
        self._send(type="cmd", command={"type": "shell", "command": command})
        text = ""
        while (told := self._hear())["type"] != "terminal-data-end":
            text += "\n" if told["type"] == "terminal-newline" else told["data"]
        return text

    def preview(self, port: int) -> str:
        """A whole address, which is answered by now."""
        told = self._ask("preview", type="cmd", command={"type": "preview"}, port=port)
        url = told["url"]
        url = f"{self._daemon.url}{url}" if url.startswith("/") else url.replace("localhost/", self._named())
        deadline = time.monotonic() + PATIENCE
        while status(url, "HEAD") in (502, 504):  # which is not redirected
            assert time.monotonic() < deadline, self.run("cat log")
            time.sleep(0.05)
        return url

    def _named(self) -> str:
        return f"localhost:{self._daemon.port}/"

    def _ask(self, kind: str, **fields: Any) -> dict[str, Any]:
        self._send(**fields)
        told = self._hear()
        assert told["type"] == kind, told
        return told

    def _send(self, **fields: Any) -> None:
        self._connection.send(json.dumps(fields))

    def _hear(self) -> dict[str, Any]:
        """Whatever is no news of what programs do."""
        while (told := json.loads(self._connection.recv(PATIENCE)))["type"] in ("change", "port"):
            pass
        return told


@contextmanager
def inside(daemon: Daemon) -> Generator[Inside]:
    """A new space."""
    with connect(f"ws://127.0.0.1:{daemon.port}/ws/spaces/x/", open_timeout=PATIENCE, proxy=None) as connection:
        yield Inside(daemon, connection)


class _NoRedirects(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, req: Any, fp: Any, code: Any, msg: Any, headers: Any, newurl: Any) -> None:
        return None


def status(url: str, method: str = "GET") -> int:
    """Of the first answer. Names below localhost are this machine, which not every resolver knows."""
    scheme, _, rest = url.partition("://")
    host, _, path = rest.partition("/")
    port = host.rpartition(":")[2]
    request = urllib.request.Request(f"{scheme}://127.0.0.1:{port}/{path}", headers={"Host": host}, method=method)
    try:
        with urllib.request.build_opener(_NoRedirects).open(request, timeout=PATIENCE) as answer:
            return answer.status
    except urllib.error.HTTPError as problem:
        problem.close()
        return problem.code
