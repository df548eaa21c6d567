"""The light clients, against a real WebSocket server and against bytes made by hand."""

import socket
import struct
import threading
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager

import pytest

from runnerd.bench.client import BUFFER, Http, WebSocket, run
from runnerd.bench.errors import Broken
from runnerd.bench.typist import plain

SWITCHING = b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n\r\n"
SIZES = (0, 1, 125, 126, 65535, 65536, 1_000_000)


@contextmanager
def server(talk: Callable[[socket.socket], None]) -> Generator[tuple[str, int]]:
    """Accepts once, and talks in a thread until it has said all."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            connection, _ = listener.accept()
            with connection:
                talk(connection)

        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield listener.getsockname()
        finally:
            thread.join(10)


def request(connection: socket.socket) -> bytes:
    """The head of a request."""
    head = b""
    while not head.endswith(b"\r\n\r\n"):
        head += connection.recv(1)
    return head


def saying(*pieces: bytes) -> Callable[[socket.socket], None]:
    """Answers a handshake, then sends these pieces, each for itself."""

    def talk(connection: socket.socket) -> None:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        request(connection)
        for piece in (SWITCHING, *pieces):
            connection.sendall(piece)

    return talk


def received(pieces: Sequence[bytes], count: int) -> list[str | bytes]:
    with server(saying(*pieces)) as address, WebSocket(address) as connection:
        return [connection.receive() for _ in range(count)]


def test_messages_of_all_sizes_go_both_ways() -> None:
    with plain() as typist:
        for size in SIZES:
            for message in (b"\xff\x00" * (size // 2) + b"x" * (size % 2), "é" * (size // 2) + "x" * (size % 2)):
                typist.connection.send(message)
                assert typist.connection.receive() == message


def test_many_messages_in_one_read() -> None:
    sent: list[str | bytes] = ["a", b"bc", "", b"d" * 200]
    frames = b"\x81\x01a" + b"\x82\x02bc" + b"\x81\x00" + b"\x82\x7e\x00\xc8" + b"d" * 200
    assert received([frames], 4) == sent
    assert received([bytes([byte]) for byte in frames], 4) == sent


def test_messages_beyond_the_buffer() -> None:
    large, small = b"x" * (3 * BUFFER + 1), b"y" * (BUFFER - 12)
    frames = [b"\x82\x7f" + struct.pack(">Q", len(data)) + data for data in (small, large, small)]
    assert received([b"".join(frames)], 3) == [small, large, small]


def test_messages_in_parts_with_others_between() -> None:
    frames = [b"\x02\x01a", b"\x89\x00", b"\x00\x01b", b"\x8a\x00", b"\x80\x01c", b"\x81\x01d"]
    assert received(frames, 2) == [b"abc", "d"]


def test_pings_are_answered_alike() -> None:
    answer = b""

    def talk(connection: socket.socket) -> None:
        nonlocal answer
        request(connection)
        connection.sendall(SWITCHING + b"\x89\x02hi")
        answer = connection.recv(8, socket.MSG_WAITALL)
        connection.sendall(b"\x81\x01x")

    with server(talk) as address, WebSocket(address) as connection:
        assert connection.receive() == "x"
    assert answer == b"\x8a\x82\0\0\0\0hi"


@pytest.mark.parametrize(
    ("pieces", "words"),
    [((), "closed"), ((b"\x81\x05ab",), "closed"), ((b"\x88\x05\x03\xe9bye",), "bye")],
    ids=["at once", "within a message", "with a reason"],
)
def test_an_end_is_told(pieces: tuple[bytes, ...], words: str) -> None:
    with pytest.raises(Broken, match=words):
        received(pieces, 1)


def test_a_refused_handshake_is_told() -> None:
    def talk(connection: socket.socket) -> None:
        request(connection)
        connection.sendall(b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n")

    with server(talk) as address, pytest.raises(Broken, match="403 Forbidden"):
        WebSocket(address)


def frame(message: str | bytes) -> bytes:
    data = message.encode() if isinstance(message, str) else message
    return struct.pack(">BB", 0x81 if isinstance(message, str) else 0x82, len(data)) + data


OUTPUT = b"\x01" + b"\0" * 12
ENDED = '{"type": "exit", "code": 0}'


def test_a_run_is_timed_to_its_first_byte_and_its_end() -> None:
    pieces = [frame('{"type": "started"}'), frame(OUTPUT + b"hel"), frame(OUTPUT + b"lo"), frame(ENDED)]
    with server(saying(*pieces)) as address, WebSocket(address) as connection:
        taken = run(connection, b"hello")
    assert 0 < taken.first <= taken.exit


@pytest.mark.parametrize(
    "messages",
    [
        ['{"type": "error", "code": "busy"}'],
        ['{"type": "exit", "code": 1}'],
        [OUTPUT + b"hullo", ENDED],
        [ENDED],
    ],
    ids=["error", "status", "other output", "no output"],
)
def test_a_run_that_goes_wrong_is_no_sample(messages: list[str | bytes]) -> None:
    with server(saying(*map(frame, messages))) as address, WebSocket(address) as connection:
        with pytest.raises(Broken, match="went wrong"):
            run(connection, b"hello")


def test_http_is_asked_over_one_connection() -> None:
    heads: list[bytes] = []

    def talk(connection: socket.socket) -> None:
        for answer in (
            (b"HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nbo", b"dy"),
            (
                b"HTTP/1.1 503 Busy\r\nContent-",
                b"Length: 0\r\n\r\n",
            ),
        ):
            heads.append(request(connection))
            if b"Content-Length: 3" in heads[-1]:
                assert connection.recv(3, socket.MSG_WAITALL) == b"abc"
            for piece in answer:
                connection.sendall(piece)

    with server(talk) as address, Http(address) as client:
        assert client.ask("POST", "/x", b"abc") == (200, b"body")
        assert client.ask("GET", "/y") == (503, b"")
    assert [head.split(b"\r\n")[0] for head in heads] == [b"POST /x HTTP/1.1", b"GET /y HTTP/1.1"]
