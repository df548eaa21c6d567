"""Headers of the PROXY protocol as proxies write them, cut anywhere, and changed anywhere."""

import socket
import struct

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from runnerd.server.proxy_protocol import V1_MAX, V2_MAX, BadProxyHeader, ProxyHeader, parse

SIGNATURE = b"\r\n\r\n\0\r\nQUIT\n"
ports = st.integers(0, 65535)


def version_2(command: int, family: int, payload: bytes) -> bytes:
    return SIGNATURE + struct.pack(">BBH", command, family, len(payload)) + payload


def addresses(family: int, source: str, destination: str) -> bytes:
    return socket.inet_pton(family, source) + socket.inet_pton(family, destination) + struct.pack(">HH", 4711, 443)


IPV4 = addresses(socket.AF_INET, "192.0.2.1", "203.0.113.9")
IPV6 = addresses(socket.AF_INET6, "2001:db8::1", "2001:db8::2")
TLV = b"\x01\x00\x02h2"

HEADERS = {
    b"PROXY TCP4 192.0.2.1 203.0.113.9 4711 443\r\n": "192.0.2.1",
    b"PROXY TCP6 2001:db8::1 2001:db8::2 4711 443\r\n": "2001:db8::1",
    b"PROXY UNKNOWN\r\n": None,
    b"PROXY UNKNOWN ffff::1 ffff::2 1 2\r\n": None,
    version_2(0x21, 0x11, IPV4): "192.0.2.1",
    version_2(0x21, 0x11, IPV4 + TLV): "192.0.2.1",
    version_2(0x21, 0x21, IPV6): "2001:db8::1",
    version_2(0x21, 0x31, b"\0" * 216): None,
    version_2(0x21, 0x00, b""): None,
    version_2(0x20, 0x00, b""): None,  # a health check
    version_2(0x20, 0x11, IPV4): None,
    version_2(0x20, 0x12, IPV4): None,
}


@pytest.mark.parametrize("header", HEADERS)
@pytest.mark.parametrize("rest", [b"", b"GET / HTTP/1.1\r\n", b"PROXY "])
def test_headers_in_pieces(header: bytes, rest: bytes) -> None:
    for cut in range(len(header)):
        assert parse(header[:cut]) is None
    assert parse(header + rest) == ProxyHeader(HEADERS[header], len(header))


@pytest.mark.parametrize(
    "data",
    [
        b"GET / HTTP/1.1\r\n\r\n",
        b"POST / HTTP/1.1\r\n\r\n",
        b"PUT",
        b"\r\n\r\nGET / HTTP/1.1",
        b"\x16\x03\x01",
        b"PROXY\r\n",
        b"PROXY TCP5 192.0.2.1 203.0.113.9 4711 443\r\n",
        b"PROXY TCP4 192.0.2.1 203.0.113.9 4711\r\n",
        b"PROXY TCP4 192.0.2.1 203.0.113.9 4711 443 1\r\n",
        b"PROXY TCP4 192.0.2.1  203.0.113.9 4711 443\r\n",
        b"PROXY TCP4 192.0.2.1 203.0.113.9 4711 65536\r\n",
        b"PROXY TCP4 192.0.2.1 203.0.113.9 04711 443\r\n",
        b"PROXY TCP4 192.0.2.1 203.0.113.9 -1 443\r\n",
        b"PROXY TCP4 192.0.2.01 203.0.113.9 4711 443\r\n",
        b"PROXY TCP4 192.0.2.1 nonsense 4711 443\r\n",
        b"PROXY TCP4 2001:db8::1 2001:db8::2 4711 443\r\n",
        b"PROXY TCP6 192.0.2.1 203.0.113.9 4711 443\r\n",
        b"PROXY TCP6 fe80::1%eth0 2001:db8::2 4711 443\r\n",
        b"PROXY UNKNOWN" + b"x" * V1_MAX,
        version_2(0x11, 0x11, IPV4),  # version 1 in binary
        version_2(0x22, 0x11, IPV4),
        version_2(0x21, 0x12, IPV4),  # datagrams
        version_2(0x21, 0x41, IPV4),
        version_2(0x21, 0x11, IPV4[:-1]),
        version_2(0x21, 0x21, IPV4),
        version_2(0x21, 0x11, b"\0" * V2_MAX),
    ],
)
def test_what_is_no_header(data: bytes) -> None:
    with pytest.raises(BadProxyHeader) as refused:
        parse(data)
    assert (refused.value.code, refused.value.status) == ("bad_proxy_header", 400)
    assert "http.proxy_protocol" in refused.value.hint


@given(st.ip_addresses(v=4), st.ip_addresses(v=4), ports, ports)
def test_any_addresses(source: object, destination: object, port: int, other: int) -> None:
    line = f"PROXY TCP4 {source} {destination} {port} {other}\r\n".encode()
    assert parse(line) == ProxyHeader(str(source), len(line))
    binary = version_2(0x21, 0x11, addresses(socket.AF_INET, str(source), str(destination)))
    assert parse(binary) == ProxyHeader(str(source), len(binary))


@given(st.sampled_from([*HEADERS]), st.integers(0, 300), st.binary(max_size=3))
@example(b"PROXY UNKNOWN\r\n", 0, b"")
def test_changed_headers_are_understood_or_refused(header: bytes, at: int, other: bytes) -> None:
    changed = header[:at] + other + header[at + 1 :]
    try:
        found = parse(changed)
    except BadProxyHeader:
        return
    assert found is None or 0 < found.size <= len(changed)


@given(st.binary(max_size=300))
def test_any_bytes(data: bytes) -> None:
    try:
        found = parse(data)
    except BadProxyHeader:
        return
    assert found is None or found.size <= len(data)


@given(st.sampled_from([b"PROXY ", SIGNATURE]), st.binary(min_size=V2_MAX, max_size=V2_MAX))
def test_the_wait_for_more_ends(beginning: bytes, data: bytes) -> None:
    """A whole header, or a refusal: nobody may make the daemon collect more than one is long."""
    try:
        assert parse(beginning + data) is not None
    except BadProxyHeader:
        pass
