"""Where a client is, when proxies stand between: who may say so, and what of it counts. Pure."""

import ipaddress
from collections.abc import Iterable, Sequence

UNIX = "unix"
"""The address of whoever connects to a Unix socket."""

Ip = ipaddress.IPv4Address | ipaddress.IPv6Address


class Proxies:
    """The proxies that are believed: networks such as "10.0.0.0/8" or "::1", and "unix"."""

    def __init__(self, trusted: Iterable[str]) -> None:
        trusted = frozenset(trusted)
        self._unix = UNIX in trusted
        self._networks = [ipaddress.ip_network(each) for each in trusted if each != UNIX]

    def trusts(self, address: str) -> bool:
        if address == UNIX:
            return self._unix
        ip = _ip(address)
        return ip is not None and any(ip in network for network in self._networks)

    def client(self, peer: str, forwarded: Sequence[str]) -> str:
        """The client's address, given who connected and the parts of X-Forwarded-For as they came.

        Each proxy adds on the right whom it saw, so the right-most address that is not a trusted proxy's counts; what
        stands left of it is the client's own word. Something that is no address ends the search.
        """
        found = peer
        for part in reversed(forwarded):
            if not self.trusts(found):
                return found
            ip = _ip(_without_port(part))
            if ip is None:
                return found
            found = str(ip)
        return found


def subnet(address: str) -> str:
    """By what an address counts: an IPv6 host owns a /64 at least, so by that."""
    ip = _ip(address)
    if isinstance(ip, ipaddress.IPv6Address):
        return str(ipaddress.IPv6Network((ip, 64), strict=False))
    return canonical(address)


def canonical(address: str) -> str:
    """An IP address as it is compared here: IPv4 within IPv6 as IPv4, without a zone. What is none stays as it is."""
    ip = _ip(address)
    return address if ip is None else str(ip)


def _ip(text: str) -> Ip | None:
    try:
        ip = ipaddress.ip_address(text.partition("%")[0])
    except ValueError:
        return None
    return getattr(ip, "ipv4_mapped", None) or ip


def _without_port(text: str) -> str:
    """Some proxies add the port: 192.0.2.1:4711, [2001:db8::1]:4711."""
    text = text.strip().strip('"')
    if text.startswith("["):
        return text[1:].partition("]")[0]
    return text.partition(":")[0] if text.count(":") == 1 else text
