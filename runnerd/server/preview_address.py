"""Where previews of ports are, and the capability that opens each. Pure."""

import hashlib
import hmac
import re
from typing import Literal
from urllib.parse import unquote

import msgspec

from runnerd.errors import BadRequest, Forbidden, NotFound
from runnerd.server.head import Head

PREFIX = "/preview/"
QUERY = "runnerd_preview"
COOKIE = "runnerd_preview"

WILDCARD = "{port}-{space}."

_BASE = re.compile(rf"(https?)://({re.escape(WILDCARD)})?([a-z0-9.-]+)((?::[0-9]+)?)")
_PATH = re.compile(r"/preview/([a-z0-9-]{1,64})/([0-9]{1,5})/([^/?#]*)([^#]*)")
_LABEL = re.compile(r"([0-9]{1,5})-([a-z0-9-]{1,57})")
_CAPABILITY = re.compile(r"([0-9]{1,11})-([0-9a-f]{64})")


class BadCapability(Forbidden):
    """The capability is missing, wrong, expired, or another port's."""

    code = "bad_capability"


class Base(msgspec.Struct, frozen=True):
    """Where previews are. `host` is "" for the daemon's own names; with `wildcard` each port has a name below it."""

    scheme: Literal["", "http", "https"] = ""
    host: str = ""
    port: str = ""
    wildcard: bool = False

    @property
    def cookie(self) -> str:
        """What a browser keeps for one host alone has this prefix, and takes it over TLS only."""
        return f"__Host-{COOKIE}" if self.scheme == "https" else COOKIE


class Place(msgspec.Struct, frozen=True):
    """What a request's address names, unchecked. `target` is what the server in the space is asked for; `prefix` was
    taken off before it, and is "" on a host of its own. `capabilities` came along: one in the address, or cookies."""

    space: str
    port: int
    target: str
    prefix: str
    capabilities: tuple[str, ...]
    by_cookie: bool = False


def base(url: str) -> Base:
    """The setting `preview.url`, which config.py has checked."""
    match = _BASE.fullmatch(url)
    if match is None:
        return Base()
    return Base("https" if match[1] == "https" else "http", match[3], match[4], match[2] is not None)


def address(base: Base, secret: bytes, space: str, port: int, expires: int) -> str:
    """What a browser opens, until `expires` (seconds since the epoch): a URL, or a path on the daemon's own host."""
    capability = sign(secret, space, port, expires)
    if base.wildcard:
        return f"{base.scheme}://{port}-{space}.{base.host}{base.port}/?{QUERY}={capability}"
    path = f"{PREFIX}{space}/{port}/{capability}/"
    return f"{base.scheme}://{base.host}{base.port}{path}" if base.host else path


def claims(base: Base, head: Head) -> bool:
    """Whether a request is for a preview, however wrong: on hosts of previews nothing else is served."""
    host = host_of(head)
    if base.wildcard:
        return host.endswith(f".{base.host}")
    return host == base.host if base.host else head.path.startswith(PREFIX)


def find(base: Base, head: Head) -> Place:
    """What a request that is claimed asks for. Raises BadRequest, NotFound."""
    if not head.target.startswith("/"):
        raise BadRequest("the request's target is not a path", hint="proxies ask by path and Host")
    return _by_host(base, head) if base.wildcard else _by_path(head)


def sign(secret: bytes, space: str, port: int, expires: int) -> str:
    return f"{expires}-{_mac(secret, space, port, expires)}"


def verify(secret: bytes, place: Place, now: float) -> tuple[str, int]:
    """The capability that is good, and when it expires. Raises BadCapability."""
    late = False
    for each in place.capabilities:
        match = _CAPABILITY.fullmatch(each)
        if match is None:
            continue
        expires = int(match[1])
        if hmac.compare_digest(match[2], _mac(secret, place.space, place.port, expires)):
            if now < expires:
                return each, expires
            late = True
    why = "has expired" if late else "is missing, wrong, revoked, or another port's"
    raise BadCapability(f"this preview's capability {why}", hint="ask for the address again, by the command preview")


def host_of(head: Head) -> str:
    """The Host header without its port, in lower case."""
    return (head.get("host") or "").rpartition("@")[2].partition(":")[0].lower().rstrip(".")


def _by_path(head: Head) -> Place:
    match = _PATH.fullmatch(head.target)
    if match is None:
        raise NotFound("this is no preview's address", hint="it is /preview/SPACE/PORT/CAPABILITY/...")
    space, port, capability, rest = match.groups()
    return Place(space, _port(port), rest, f"{PREFIX}{space}/{port}/{capability}", (capability,))


def _by_host(base: Base, head: Head) -> Place:
    label = host_of(head).removesuffix(f".{base.host}")
    match = _LABEL.fullmatch(label)
    if match is None:
        raise NotFound(f"{label[:80]!r} names no preview", hint="it is PORT-SPACE")
    path, mark, query = head.target.partition("?")
    fields = query.split("&") if mark else []
    given = tuple(unquote(each.partition("=")[2]) for each in fields if each.partition("=")[0] == QUERY)
    if not given:
        return Place(match[2], _port(match[1]), head.target, "", cookies(head, base.cookie), by_cookie=True)
    rest = "&".join(each for each in fields if each.partition("=")[0] != QUERY)
    return Place(match[2], _port(match[1]), f"{path}?{rest}" if rest else path, "", given)


def cookies(head: Head, name: str) -> tuple[str, ...]:
    """The values of all cookies of that name."""
    pairs = (each.partition("=") for header, value in head.headers if header == "cookie" for each in value.split(";"))
    return tuple(value.strip() for key, _, value in pairs if key.strip() == name)


def _port(text: str) -> int:
    if not 1 <= int(text) <= 65535:
        raise BadRequest(f"{text} is no port", hint="ports are 1 to 65535")
    return int(text)


def _mac(secret: bytes, space: str, port: int, expires: int) -> str:
    return hmac.new(secret, f"{space} {port} {expires}".encode(), hashlib.sha256).hexdigest()
