"""Clients that cost little: blocking sockets, no event loop, frames cut out of one buffer.

Whatever is compared over WebSockets is compared with this same client. It does what a measurement needs of RFC 6455 and
no more: its mask is zero, it checks nothing that a server of ours would get right.
"""

import base64
import json
import os
import socket
import struct
import time
from collections import deque
from typing import Any, NamedTuple, Self

from runnerd.bench.errors import Broken

PATH = "/api/v1/terminal"
PROTOCOL = "runnerd.v1"
HEADER = struct.calcsize(">BIQ")
"""Bytes before the output in a binary frame: channel, stream, offset."""

PATIENCE = 60
"""Seconds without a byte after which a server is given up."""

BUFFER = 1 << 20
TEXT, BINARY, CLOSE, PING, PONG = 1, 2, 8, 9, 10


class WebSocket:
    """One connection. Raises Broken when it ends, OSError when the server cannot be reached or says nothing."""

    def __init__(self, address: tuple[str, int], path: str = PATH, protocol: str = PROTOCOL) -> None:
        self.socket = _connected(address)
        self._buffer = bytearray(BUFFER)
        self._begin = self._end = 0
        self._messages: deque[str | bytes] = deque()
        self._parts: list[bytes] = []
        self._opcode = TEXT
        try:
            self._shake_hands(address, path, protocol)
        except BaseException:
            self.socket.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.socket.close()

    def fileno(self) -> int:
        return self.socket.fileno()

    def send(self, message: str | bytes) -> None:
        data = message.encode() if isinstance(message, str) else message
        self._send(TEXT if isinstance(message, str) else BINARY, data)

    def tell(self, **fields: Any) -> None:
        """Send an object."""
        self.send(json.dumps(fields))

    def receive(self) -> str | bytes:
        """The next message."""
        while not self._messages:
            self._read()
        return self._messages.popleft()

    def hear(self) -> list[str | bytes]:
        """What one read of the socket brings; it blocks when there is nothing to read."""
        if not self._messages:
            self._read()
        heard = list(self._messages)
        self._messages.clear()
        return heard

    # --- frames ----------------------------------------------------------------------------------------------------

    def _shake_hands(self, address: tuple[str, int], path: str, protocol: str) -> None:
        key = base64.b64encode(os.urandom(16)).decode()
        lines = [
            f"GET {path} HTTP/1.1",
            f"Host: {address[0]}:{address[1]}",
            "Upgrade: websocket",
            "Connection: Upgrade",
            f"Sec-WebSocket-Key: {key}",
            "Sec-WebSocket-Version: 13",
            *([f"Sec-WebSocket-Protocol: {protocol}"] if protocol else []),
        ]
        self.socket.sendall("\r\n".join([*lines, "", ""]).encode())
        while (end := self._buffer.find(b"\r\n\r\n", 0, self._end)) < 0:
            self._receive()
        status = bytes(self._buffer[:end]).split(b"\r\n")[0]
        if b" 101 " not in status:
            raise Broken(f"{path}: {status.decode(errors='replace')}")
        self._begin = end + 4
        self._cut()

    def _send(self, opcode: int, data: bytes) -> None:
        size = len(data)
        if size < 126:
            head = struct.pack(">BBI", 0x80 | opcode, 0x80 | size, 0)
        elif size < 65536:
            head = struct.pack(">BBHI", 0x80 | opcode, 0x80 | 126, size, 0)
        else:
            head = struct.pack(">BBQI", 0x80 | opcode, 0x80 | 127, size, 0)
        self.socket.sendall(head + data)

    def _read(self) -> None:
        self._receive()
        self._cut()

    def _receive(self) -> None:
        try:
            count = self.socket.recv_into(memoryview(self._buffer)[self._end :])
        except BlockingIOError as problem:
            raise Broken(f"the server said nothing for {PATIENCE} s") from problem
        if not count:
            raise Broken("the server has closed the connection")
        self._end += count

    def _cut(self) -> None:
        """Take whole frames out of the buffer, and make room for the rest of one that is not."""
        view = memoryview(self._buffer)
        need = 0
        while True:
            begin, held = self._begin, self._end - self._begin
            if held < 2:
                break
            size, head = view[begin + 1] & 0x7F, 2
            if size > 125:
                head = 4 if size == 126 else 10
                if held < head:
                    break
                size = int.from_bytes(view[begin + 2 : begin + head], "big")
            if held < head + size:
                need = head + size
                break
            self._begin += head + size
            self._frame(view[begin], bytes(view[begin + head : self._begin]))
        rest = bytes(view[self._begin : self._end]) if self._begin else b""
        view.release()
        if self._begin:
            self._buffer[: len(rest)] = rest
            self._begin, self._end = 0, len(rest)
        if need > len(self._buffer):
            self._buffer += bytes(2 * need - len(self._buffer))

    def _frame(self, first: int, data: bytes) -> None:
        opcode = first & 0x0F
        if opcode == PING:
            self._send(PONG, data)
        elif opcode == CLOSE:
            raise Broken(f"the server has closed the connection: {data[2:].decode(errors='replace')}")
        elif opcode != PONG:
            self._opcode = opcode or self._opcode
            self._parts.append(data)
            if first & 0x80:
                whole = b"".join(self._parts)
                self._parts.clear()
                self._messages.append(whole if self._opcode == BINARY else whole.decode())


class Run(NamedTuple):
    """Seconds from the start message to the first byte of output and to the exit frame."""

    first: float
    exit: float


def run(connection: WebSocket, expected: bytes = b"", **start: Any) -> Run:
    """Start a program and see it to its end. Raises Broken unless it exits with 0 and its output begins as expected."""
    began = time.perf_counter()
    connection.tell(type="start", **start)
    first, output = 0.0, b""
    while True:
        message = connection.receive()
        if isinstance(message, bytes):
            first = first or time.perf_counter() - began
            output += message[HEADER:]
        elif '"exit"' in message or '"error"' in message:
            ended = time.perf_counter() - began
            told = json.loads(message)
            if told.get("code") != 0 or not output.startswith(expected):
                raise Broken(f"a run went wrong: {message}, output {output[:200]!r}")
            return Run(first, ended)


class Http:
    """HTTP over one connection that is kept alive; every answer has a Content-Length. Raises as WebSocket does."""

    def __init__(self, address: tuple[str, int]) -> None:
        self._host = f"{address[0]}:{address[1]}"
        self._socket = _connected(address)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.close()

    def ask(self, method: str, path: str, body: bytes = b"") -> tuple[int, bytes]:
        """Status and body."""
        head = f"{method} {path} HTTP/1.1\r\nHost: {self._host}\r\n"
        if body:
            head += f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n"
        self._socket.sendall(f"{head}\r\n".encode() + body)
        answer = b""
        while (end := answer.find(b"\r\n\r\n")) < 0:
            answer += self._more()
        lines = answer[:end].lower().split(b"\r\n")
        size = next(int(line[15:]) for line in lines if line.startswith(b"content-length:"))
        while len(answer) < end + 4 + size:
            answer += self._more()
        return int(lines[0].split()[1]), answer[end + 4 :]

    def _more(self) -> bytes:
        data = self._socket.recv(65536)
        if not data:
            raise Broken("the server has closed the connection")
        return data


def _connected(address: tuple[str, int]) -> socket.socket:
    connection = socket.create_connection(address, timeout=PATIENCE)
    # The kernel's own timeout: Python's would cost a poll for each read.
    connection.settimeout(None)
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, struct.pack("ll", PATIENCE, 0))
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return connection
