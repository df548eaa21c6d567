"""The PROXY protocol, versions 1 and 2: what a TCP proxy says of its client before anything else. Pure and strict.

See https://www.haproxy.org/download/3.0/doc/proxy-protocol.txt.
"""

import ipaddress
import struct

import msgspec

from runnerd.errors import BadRequest

V1_MAX = 107
V2_MAX = 2048
"""Bytes of a whole header; one of version 2 may carry certificates and more, which nobody needs here."""

_SIGNATURE = b"\r\n\r\n\0\r\nQUIT\n"
_PREFIX = b"PROXY "
_HEAD = struct.Struct(">12sBBH")
_LOCAL, _PROXY = 0x20, 0x21
_ADDRESSES = {0x00: 0, 0x11: 12, 0x21: 36, 0x31: 216}
"""Unspecified, and streams of TCP over IPv4, TCP over IPv6, and Unix: bytes of their two addresses."""


class BadProxyHeader(BadRequest):
    """A trusted proxy began with something that is no header of the PROXY protocol."""

    code = "bad_proxy_header"

    def __init__(self, what: str) -> None:
        super().__init__(
            f"no header of the PROXY protocol: {what}", hint="http.proxy_protocol must be as the proxy is set"
        )


class ProxyHeader(msgspec.Struct, frozen=True):
    """`source` is the client's IP address; None when the proxy speaks for itself, or does not know. `size` in bytes."""

    source: str | None
    size: int


def parse(data: bytes) -> ProxyHeader | None:
    """The header that `data` begins with; None while it is not whole. Raises BadProxyHeader."""
    if data[:1] == b"P":
        return _parse_1(data)
    if not _SIGNATURE.startswith(data[: len(_SIGNATURE)]):
        raise BadProxyHeader("it begins otherwise")
    return _parse_2(data) if len(data) >= _HEAD.size else None


def _parse_1(data: bytes) -> ProxyHeader | None:
    if not _PREFIX.startswith(data[: len(_PREFIX)]):
        raise BadProxyHeader("it begins otherwise")
    line, end, _ = data[:V1_MAX].partition(b"\r\n")
    if not end:
        if len(data) >= V1_MAX:
            raise BadProxyHeader(f"its line is longer than {V1_MAX} bytes")
        return None
    size = len(line) + len(end)
    match line.decode("latin-1").split(" ")[1:]:
        case ["UNKNOWN", *_]:
            return ProxyHeader(None, size)
        case ["TCP4" | "TCP6" as family, source, destination, *ports] if len(ports) == 2 and all(map(_is_port, ports)):
            version = int(family[-1])
            _address(destination, version)
            return ProxyHeader(_address(source, version), size)
        case _:
            raise BadProxyHeader("its line is malformed")


def _parse_2(data: bytes) -> ProxyHeader | None:
    _, command, family, length = _HEAD.unpack_from(data)
    size = _HEAD.size + length
    if size > V2_MAX:
        raise BadProxyHeader(f"it is longer than {V2_MAX} bytes")
    if command not in (_LOCAL, _PROXY):
        raise BadProxyHeader(f"its version and command are {command:#04x}")
    needed = _ADDRESSES.get(family)
    if command == _PROXY and needed is None:
        raise BadProxyHeader(f"its address family and protocol are {family:#04x}")
    if command == _PROXY and length < (needed or 0):
        raise BadProxyHeader("its addresses are cut short")
    if len(data) < size:
        return None
    source: str | None = None
    if command == _PROXY and family in (0x11, 0x21):
        width = 4 if family == 0x11 else 16
        source = str(ipaddress.ip_address(data[_HEAD.size : _HEAD.size + width]))
    return ProxyHeader(source, size)


def _is_port(text: str) -> bool:
    return text.isascii() and text.isdigit() and len(text) <= 5 and int(text) < 65536 and str(int(text)) == text


def _address(text: str, version: int) -> str:
    try:
        ip = ipaddress.ip_address(text)
    except ValueError:
        ip = None
    if ip is None or ip.version != version or "%" in text:
        raise BadProxyHeader("its line is malformed")
    return str(ip)
