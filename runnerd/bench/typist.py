"""Keys typed into terminals over WebSockets, each timed to its echo; and the servers whose terminals are typed into."""

import importlib.util
import json
import select
import socket
import struct
import subprocess
import sys
import time
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager

import msgspec

from runnerd.bench import host
from runnerd.bench.client import WebSocket
from runnerd.bench.daemon import Server, free_port
from runnerd.bench.errors import Broken, Missing

Message = str | bytes

TYPED_INTO = ["cat"]
LINE = 1000
"""Keys after which the line is ended: a terminal's holds 4095."""
QUIET = 0.05
"""Seconds without a message after which the answer to a line is thought to be complete."""
INPUT = struct.pack(">BI", 0, 1)
READY_WITHIN = 30.0
"""Seconds until a server must have said its port, or answer at it."""


class Typist(msgspec.Struct):
    """Types `key` over and over. `echoes` says whether a message shows a key."""

    connection: WebSocket
    key: Message
    enter: Message
    echoes: Callable[[Message], bool]
    typed: int = 0

    def type(self) -> float:
        """Seconds from a key to its echo."""
        if self.typed == LINE:
            self.connection.send(self.enter)
            self.drain()
            self.typed = 0
        self.typed += 1
        began = time.perf_counter()
        self.connection.send(self.key)
        while not self.echoes(self.connection.receive()):
            pass
        return time.perf_counter() - began

    def drain(self) -> None:
        """Hear what comes, until nothing does."""
        while select.select([self.connection], [], [], QUIET)[0]:
            self.connection.hear()


def start(connection: WebSocket) -> None:
    """Ask a daemon for a terminal to type into."""
    connection.tell(type="start", argv=TYPED_INTO)


def waits(message: Message) -> bool:
    """Whether a message of the daemon's says that the program waits for input. Raises Broken for an error."""
    if isinstance(message, bytes):
        return False
    if '"error"' in message:
        raise Broken(f"no terminal: {message}")
    return '"waiting"' in message


@contextmanager
def boxed(daemon: Server) -> Generator[Typist]:
    with daemon.connect() as connection:
        start(connection)
        while not waits(connection.receive()):
            pass
        yield Typist(connection, INPUT + b"x", INPUT + b"\n", lambda message: isinstance(message, bytes))


@contextmanager
def plain() -> Generator[Typist]:
    """A trio-websocket server that sends each message back."""
    with _server([sys.executable, "-m", "runnerd.bench.echo"]) as port, WebSocket(("127.0.0.1", port), "/", "") as it:
        yield Typist(it, INPUT + b"x", INPUT + b"\n", lambda message: isinstance(message, bytes))


@contextmanager
def terminado() -> Generator[Typist]:
    """Raises Missing."""
    if not importlib.util.find_spec("terminado"):
        raise Missing("terminado is not installed", hint="pip install terminado")
    command = [sys.executable, "-m", "runnerd.bench.terminado_server"]
    with _server(command) as port, WebSocket(("127.0.0.1", port), "/", "") as it:
        yield Typist(it, '["stdin","x"]', '["stdin","\\n"]', lambda message: str(message).startswith('["stdout"'))


@contextmanager
def ttyd() -> Generator[Typist]:
    """Raises Missing."""
    found = host.program("ttyd", "https://github.com/tsl0922/ttyd")
    told = subprocess.run([found, "--help"], capture_output=True, text=True, timeout=30)
    writable = ["--writable"] if "--writable" in told.stdout + told.stderr else []
    port = free_port("127.0.0.1")
    with _process([found, "--interface", "127.0.0.1", "--port", str(port), *writable, *TYPED_INTO]):
        _wait_for(port)
        with WebSocket(("127.0.0.1", port), "/ws", "tty") as it:
            it.send(json.dumps({"AuthToken": "", "columns": 80, "rows": 24}).encode())
            it.receive()  # the window's title, which comes once there is a terminal
            yield Typist(it, b"0x", b"0\n", lambda message: message[:1] == b"0")


def _wait_for(port: int) -> None:
    deadline = time.monotonic() + READY_WITHIN
    while True:
        try:
            socket.create_connection(("127.0.0.1", port)).close()
            return
        except OSError as problem:
            if time.monotonic() > deadline:
                raise Broken(f"nothing answers on port {port}: {problem}") from problem
            time.sleep(0.02)


@contextmanager
def _process(command: Sequence[str]) -> Generator[subprocess.Popen[str]]:
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as process:
        try:
            yield process
        finally:
            process.kill()


@contextmanager
def _server(command: Sequence[str]) -> Generator[int]:
    """A server of ours, and the port that it prints."""
    with _process(command) as process:
        assert process.stdout is not None
        if not select.select([process.stdout], [], [], READY_WITHIN)[0] or not (line := process.stdout.readline()):
            raise Broken(f"{' '.join(command[1:])} does not serve")
        yield int(line)
