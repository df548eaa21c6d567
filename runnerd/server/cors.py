"""Cross-Origin Resource Sharing: which pages of other sites may call the REST API and read its answers. Pure.

Keys travel in headers, never in cookies, so nothing is allowed that needs credentials.
"""

from runnerd.server.head import Head
from runnerd.server.origin import Gate

MAX_AGE = 600
"""Seconds that a browser may remember a preflight's answer."""

SAFE = frozenset({"GET", "HEAD", "OPTIONS"})
"""Methods that change nothing. Others come from foreign pages only where those are allowed: a form can send them."""


def is_preflight(head: Head) -> bool:
    return (
        head.method == "OPTIONS"
        and head.get("origin") is not None
        and head.get("access-control-request-method") is not None
    )


def answer_headers(gate: Gate, head: Head) -> dict[str, str]:
    """For every answer: whether the page that asked may read it."""
    origin = head.get("origin")
    if origin is None or not gate.allows(head):
        return {}
    return {
        "Access-Control-Allow-Origin": origin,
        "Access-Control-Expose-Headers": "Retry-After, X-Request-Id",
    }


def preflight_headers() -> dict[str, str]:
    """For the answer to the browser's question what a page may send."""
    return {
        "Access-Control-Allow-Methods": "GET, HEAD, POST, PUT, DELETE",
        "Access-Control-Allow-Headers": "Accept, Authorization, Content-Type, X-API-Key",
        "Access-Control-Max-Age": str(MAX_AGE),
    }
