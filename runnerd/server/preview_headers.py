"""Which headers of a preview pass, and which are added: a server in a space must not reach beyond its preview. Pure."""

import re
from urllib.parse import urlsplit

from runnerd.errors import BadRequest, Forbidden
from runnerd.server.cors import SAFE
from runnerd.server.head import Head
from runnerd.server.preview_address import Base, Place

Headers = list[tuple[str, str]]

SANDBOX = (
    "sandbox allow-scripts allow-forms allow-modals allow-popups allow-downloads allow-pointer-lock "
    "allow-orientation-lock allow-presentation"
)
"""Without allow-same-origin: each page has an origin of its own, to which the daemon's pages are foreign."""

_HOP_BY_HOP = frozenset(
    {"connection", "keep-alive", "proxy-authenticate", "proxy-authorization", "proxy-connection", "te", "trailer"}
    | {"transfer-encoding", "upgrade", "http2-settings"}
)
_REPLACED = frozenset(
    {"host", "origin", "cookie", "expect", "forwarded", "x-forwarded-for", "x-forwarded-proto", "x-forwarded-host"}
    | {"x-forwarded-prefix", "x-forwarded-port", "x-forwarded-server", "x-real-ip", "x-api-key", "authorization"}
)
_OURS = frozenset(
    {"cross-origin-resource-policy", "x-content-type-options", "referrer-policy", "cache-control", "x-request-id"}
)
_OF_CACHES = ("surrogate-", "cdn-", "cloudflare-")
_OF_PROXIES = ("x-accel-", "x-sendfile", "x-lighttpd-", "x-reproxy-", "x-litespeed-", "x-envoy-")
"""What reverse proxies obey when a server behind them says so: nginx would give out its internal files."""

_OF_ORIGINS = frozenset(
    {"clear-site-data", "strict-transport-security", "alt-svc", "public-key-pins", "expect-ct", "nel", "report-to"}
    | {"public-key-pins-report-only", "set-login", "activate-storage-access"}
)
"""What holds for more than one answer, or for more hosts than one."""

_BY_PATH = frozenset(
    {"accept-ranges", "age", "allow", "content-disposition", "content-encoding", "content-language", "content-length"}
    | {"content-location", "content-range", "content-security-policy", "content-type", "date", "etag", "expires"}
    | {"last-modified", "link", "location", "refresh", "retry-after", "server", "server-timing", "sourcemap", "vary"}
    | {"sec-websocket-accept", "sec-websocket-protocol", "sec-websocket-extensions"}
)
"""All that passes on an origin that is shared, beside names that begin with x- or hx-."""

_KEY = re.compile(r"\b[pr]k_")
_LOOPBACK = frozenset({"localhost", "127.0.0.1", "0.0.0.0", "::1"})


class ForeignPage(Forbidden):
    """A page that is not the preview's own tried to use a visitor's cookie."""

    code = "foreign_origin"


def check(head: Head, place: Place) -> None:
    """Raise ForeignPage or BadRequest for what a browser must not be led to, and for a body of two lengths."""
    if head.words("transfer-encoding") and head.get("content-length") is not None:
        raise BadRequest("the request has both Content-Length and Transfer-Encoding")
    if place.prefix and (head.get("service-worker") or "").lower() == "script":
        raise ForeignPage("a preview below a path has no service workers", hint="docs/preview.md: an origin of its own")
    origin = head.get("origin")
    if place.by_cookie and origin is not None and (head.wants_websocket or head.method not in SAFE):
        _, _, name = origin.lower().partition("://")
        host = (head.get("host") or "").lower()
        if name != host and name.partition("-")[2] != host.partition("-")[2]:
            raise ForeignPage(f"pages of {origin[:80]!r} may not use this preview")


def to_server(head: Head, place: Place, base: Base, client: str, scheme: str) -> Headers:
    """What the server in the space is told. It finds itself at localhost, as its author does, and learns by
    X-Forwarded-* where it is seen: `client` is an address, `scheme` http or https."""
    host, local = head.get("host") or "localhost", f"localhost:{place.port}"
    kept = [(name, value) for name, value in _passing(head.headers) if name not in _REPLACED]
    if place.prefix:
        kept = [each for each in kept if each[0] != "referer"]
    else:
        kept += _own_words(head, base)
    origin = head.get("origin")
    if origin is not None:
        own = origin.lower().partition("://")[2] == host.lower() or (place.prefix and origin == "null")
        kept.append(("origin", f"http://{local}" if own else origin))
    kept += [("host", local), ("x-forwarded-for", client), ("x-forwarded-proto", scheme), ("x-forwarded-host", host)]
    if place.prefix:
        kept.append(("x-forwarded-prefix", place.prefix))
    if head.words("transfer-encoding"):
        kept.append(("transfer-encoding", "chunked"))
    if head.wants_websocket:
        return [*kept, ("connection", "Upgrade"), ("upgrade", "websocket")]
    return [*kept, ("connection", "close")]


def to_client(headers: Headers, head: Head, place: Place, base: Base) -> Headers:
    """What a browser is told of an answer; the caller adds Connection."""
    chunked = any(name.lower() == "transfer-encoding" for name, _ in headers)
    kept: Headers = []
    for name, value in _passing(headers):
        name = name.lower()
        if not _may_pass(name, value, place) or (chunked and name == "content-length"):
            continue
        if name in ("location", "content-location"):
            value = _location(value, head, place)
        if name == "content-type" and place.prefix and _could_be_pages(value, head):
            value = "application/octet-stream"
        kept.append((name, value))
    stored = any(name.lower() == "cache-control" and "no-store" in value.lower() for name, value in headers)
    return [*kept, ("cache-control", "no-store" if stored else "private, no-cache"), *isolation(place)]


def isolation(place: Place) -> Headers:
    """Of every answer, the daemon's own among them. Where the origin is shared, pages have one that nobody else has; to
    that the preview's own files are foreign, which the capability in their address protects."""
    shared = bool(place.prefix)
    headers: Headers = [
        ("cross-origin-resource-policy", "cross-origin" if shared else "same-origin"),
        ("x-content-type-options", "nosniff"),
        ("referrer-policy", "no-referrer" if shared else "same-origin"),
        ("x-accel-buffering", "no"),
    ]
    if shared:
        headers += [
            ("content-security-policy", SANDBOX),
            ("access-control-allow-origin", "*"),
            ("access-control-expose-headers", "*"),
        ]
    return headers


def preflight(head: Head) -> Headers:
    """To a sandboxed page, which asks before it sends what a form cannot."""
    asked = head.get("access-control-request-headers") or ""
    method = head.get("access-control-request-method") or "GET"
    return [
        ("access-control-allow-methods", method),
        *([("access-control-allow-headers", asked)] if asked else []),
        ("access-control-max-age", "600"),
    ]


def cookie(base: Base, capability: str, seconds: int) -> str:
    """Set-Cookie of one host. Without TLS, for development, browsers take neither Secure nor the prefix __Host-."""
    secure = "; Secure" if base.scheme == "https" else ""
    return f"{base.cookie}={capability}; Path=/; Max-Age={seconds}; HttpOnly; SameSite=Lax{secure}"


def _passing(headers: Headers | tuple[tuple[str, str], ...]) -> Headers:
    """Without those of one connection only, which `Connection` may name more of."""
    named = {
        word.strip().lower() for name, value in headers if name.lower() == "connection" for word in value.split(",")
    }
    return [each for each in headers if each[0].lower() not in named | _HOP_BY_HOP]


def _own_words(head: Head, base: Base) -> Headers:
    """Cookies and Authorization of a host that is the preview's alone, without what is runnerd's."""
    kept: Headers = []
    for name, value in head.headers:
        if name == "cookie":
            pairs = (each.strip() for each in value.split(";"))
            others = "; ".join(each for each in pairs if each and not _is_ours(each))
            kept += [("cookie", others)] if others else []
        elif name == "authorization" and not _KEY.search(value):
            kept.append((name, value))
    return kept


def _is_ours(pair: str) -> bool:
    return pair.partition("=")[0].strip().lower().removeprefix("__host-") == "runnerd_preview"


def _may_pass(name: str, value: str, place: Place) -> bool:
    if name in _OURS or name in _OF_ORIGINS or name.startswith(_OF_CACHES) or name.startswith(_OF_PROXIES):
        return False
    if place.prefix:
        return name in _BY_PATH or name.startswith(("x-", "hx-"))
    if name == "set-cookie":
        attributes = [each.partition("=")[0].strip().lower() for each in value.split(";")[1:]]
        return "domain" not in attributes and not _is_ours(value)
    return True


def _could_be_pages(value: str, head: Head) -> bool:
    """Many documents in one answer: browsers have held only the first to a policy. Cameras send images so."""
    return value.strip().lower().startswith("multipart/") and head.get("sec-fetch-dest") != "image"


def _location(value: str, head: Head, place: Place) -> str:
    """Where a redirect leads within the preview: the server knows neither its prefix nor, by default, its host."""
    try:
        parts = urlsplit(value)
        local = parts.hostname in _LOOPBACK and (parts.port or 80) == place.port
    except ValueError:
        return value
    if local or (parts.netloc and parts.netloc.lower() == (head.get("host") or "").lower()):
        value = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        value += f"#{parts.fragment}" if parts.fragment else ""
        value = f"/{value.lstrip('/')}"
    within = not place.prefix or value.startswith(f"{place.prefix}/")
    if within or not value.startswith("/") or value.startswith(("//", "/\\")):
        return value
    return place.prefix + value
