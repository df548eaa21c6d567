"""How errors are told to clients: RunnerdErrors as they are, anything else as a reference into the log."""

import logging
import math
import secrets

import msgspec

from runnerd.errors import ConfigError, RunnerdError, SetupError, TryLater

log = logging.getLogger("runnerd.server")


def told(problem: Exception) -> RunnerdError:
    """What a client may hear of `problem`. Unexpected ones and the host's own are logged with their traceback, under a
    reference that the client gets.

    A RunnerdError loses its traceback and context: their frames hold what the client sent and whoever keeps the error,
    and all of them would keep each other until the interpreter's next full collection.
    """
    if isinstance(problem, RunnerdError) and not isinstance(problem, SetupError | ConfigError):
        problem.__traceback__ = problem.__context__ = None
        return problem
    reference = secrets.token_hex(4)
    log.error("unexpected error", exc_info=problem, extra={"reference": reference})
    return RunnerdError("something went wrong in the daemon", hint=f"its log says more under reference {reference}")


PROBLEM = "application/problem+json"


def body(error: RunnerdError) -> bytes:
    """The body of an HTTP answer that tells an error, of type PROBLEM (RFC 9457). `code` tells programs which it is;
    `error` is `detail` once more, for clients of the published protocols."""
    fields: dict[str, object] = {
        "type": "about:blank",
        "title": REASONS.get(error.status, "Error"),
        "status": error.status,
        "detail": error.message,
        "error": error.message,
        "code": error.code,
        "hint": error.hint,
    }
    if isinstance(error, TryLater):
        fields["retry_after"] = error.retry_after
    return msgspec.json.encode(fields)


def extra_headers(error: RunnerdError) -> dict[str, str]:
    """HTTP headers that belong to an error's answer."""
    headers = {"Cache-Control": "no-store"}
    if isinstance(error, TryLater):
        headers["Retry-After"] = str(max(1, math.ceil(error.retry_after)))
    if error.status == 408:
        headers["Connection"] = "close"
    if error.status == 401:
        headers["WWW-Authenticate"] = "Bearer"
    if error.status == 426:
        headers["Upgrade"] = "websocket"
        headers["Sec-WebSocket-Version"] = "13"
    return headers


REASONS = {
    400: "Bad Request",
    401: "Unauthorized",
    402: "Payment Required",
    403: "Forbidden",
    404: "Not Found",
    405: "Method Not Allowed",
    408: "Request Timeout",
    410: "Gone",
    413: "Content Too Large",
    426: "Upgrade Required",
    429: "Too Many Requests",
    431: "Request Header Fields Too Large",
    500: "Internal Server Error",
    502: "Bad Gateway",
    503: "Service Unavailable",
    504: "Gateway Timeout",
}


def response(error: RunnerdError, request_id: str) -> bytes:
    """A whole HTTP/1.1 answer, after which the connection closes: for requests that reach no server."""
    content = body(error)
    headers = {
        "Content-Type": PROBLEM,
        "Content-Length": str(len(content)),
        "X-Request-Id": request_id,
        "X-Content-Type-Options": "nosniff",
        **extra_headers(error),
        "Connection": "close",
    }
    lines = [f"HTTP/1.1 {error.status} {REASONS.get(error.status, 'Error')}"]
    lines += [f"{name}: {value}" for name, value in headers.items()]
    return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1") + content
