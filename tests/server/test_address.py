import os
import socket
import stat
from pathlib import Path

import pytest

from runnerd.errors import ConfigError, SetupError
from runnerd.server import address
from runnerd.server.address import TcpAddress, UnixAddress


@pytest.mark.parametrize(
    ("text", "expected", "loopback"),
    [
        ("127.0.0.1:8080", TcpAddress("127.0.0.1", 8080), True),
        ("127.1.2.3:1", TcpAddress("127.1.2.3", 1), True),
        ("localhost:0", TcpAddress("localhost", 0), True),
        ("[::1]:65535", TcpAddress("::1", 65535), True),
        ("0.0.0.0:80", TcpAddress("0.0.0.0", 80), False),
        ("[::]:80", TcpAddress("::", 80), False),
        ("example.com:80", TcpAddress("example.com", 80), False),
        ("unix:/run/x.sock", UnixAddress(Path("/run/x.sock")), True),
    ],
)
def test_addresses(text: str, expected: address.Address, loopback: bool) -> None:
    parsed = address.parse(text)
    assert parsed == expected
    assert str(parsed) == text
    assert parsed.loopback is loopback


@pytest.mark.parametrize(
    "text", ["", "8080", ":8080", "host:", "host:x", "host:65536", "host:-1", "::1:80", "[host]:80", "unix:", "h:٣"]
)
def test_what_is_no_address_is_refused_with_an_example(text: str) -> None:
    with pytest.raises(ConfigError) as caught:
        address.parse(text)
    assert "127.0.0.1:8080" in caught.value.hint


def test_a_port_in_use_is_said_to_be() -> None:
    first = address.listen(TcpAddress("127.0.0.1", 0))
    taken = address.bound(TcpAddress("127.0.0.1", 0), first)
    try:
        with pytest.raises(SetupError, match=r"listening on 127\.0\.0\.1:\d+: Address already in use") as caught:
            address.listen(taken)
        assert "--listen" in caught.value.hint
    finally:
        address.close(taken, first)
    again = address.listen(taken)
    address.close(taken, again)


def test_an_address_of_another_host_is_said_to_be() -> None:
    with pytest.raises(SetupError, match="Cannot assign requested address"):
        address.listen(TcpAddress("192.0.2.1", 0))


def test_a_unix_socket_replaces_a_stale_one_but_no_living_one(tmp_path: Path) -> None:
    where = UnixAddress(tmp_path / "socket")
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(where.path))
    sockets = address.listen(where)
    try:
        assert stat.S_IMODE(where.path.stat().st_mode) == address.SOCKET_MODE
        with socket.socket(socket.AF_UNIX) as client:
            client.connect(str(where.path))
        with pytest.raises(SetupError, match="Address already in use"):
            address.listen(where)
    finally:
        address.close(where, sockets)
    assert not where.path.exists()


def test_a_file_in_the_place_of_a_socket_is_left_alone(tmp_path: Path) -> None:
    where = UnixAddress(tmp_path / "file")
    where.path.write_text("precious")
    with pytest.raises(SetupError, match="not a socket"):
        address.listen(where)
    assert where.path.read_text() == "precious"


def test_the_umask_is_as_it_was(tmp_path: Path) -> None:
    before = os.umask(0o022)
    try:
        where = UnixAddress(tmp_path / "socket")
        address.close(where, address.listen(where))
        assert os.umask(0o022) == 0o022
    finally:
        os.umask(before)
