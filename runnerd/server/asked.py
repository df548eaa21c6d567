"""A request's identity: its id for logs and answers, and the address of who asked."""

import re
import secrets

import msgspec

from runnerd.server.forwarded import Proxies
from runnerd.server.head import Head

_SANE = re.compile(r"[A-Za-z0-9._:-]{8,64}")


class Asked(msgspec.Struct, frozen=True):
    """`id` is a word; `address` an IP address, or "unix"."""

    id: str
    address: str


def identify(head: Head, peer: str, proxies: Proxies) -> Asked:
    """Of a request that came from `peer`. A trusted proxy says whom it serves, and may have given it an id."""
    given = head.get("x-request-id") or ""
    known = proxies.trusts(peer) and _SANE.fullmatch(given)
    return Asked(given if known else new_id(), proxies.client(peer, head.words("x-forwarded-for")))


def new_id() -> str:
    return secrets.token_hex(8)
