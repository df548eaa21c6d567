"""Everything that is not a WebSocket: the REST routes, the page, and headers that every answer carries."""

import math
from typing import Any

import msgspec
import trio
from starlette.applications import Starlette
from starlette.datastructures import MutableHeaders
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from runnerd.errors import Busy, NotFound, RunnerdError, TooLarge
from runnerd.protocols import sessions, spaces, ws
from runnerd.protocols.fields import Fields
from runnerd.protocols.terminal import PATH
from runnerd.server import archives, cors, logs, oneshot, openapi
from runnerd.server.asked import Asked, identify
from runnerd.server.assets import Asset
from runnerd.server.head import Head, MethodNotAllowed, UpgradeRequired
from runnerd.server.metrics import render
from runnerd.server.site import Site
from runnerd.server.trouble import PROBLEM, body, extra_headers, told

CSP = (
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self' data:; "
    "font-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'self'"
)
ALWAYS = {
    "Content-Security-Policy": CSP,
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
}
NO_PAGE = "The page was not built: run scripts/setup. The API is at /api/v1/openapi.json.\n"


class BodyTimeout(RunnerdError):
    """The client did not finish its request's body in time."""

    code, status = "body_timeout", 408


def make_app(site: Site) -> ASGIApp:
    """The ASGI application. It answers every request and raises nothing."""
    handlers = {HTTPException: _starlette_error, RunnerdError: _error, Exception: _error}
    app = Starlette(routes=routes(site), exception_handlers=handlers)
    app.router.redirect_slashes = False
    return _Guard(app, site)


def routes(site: Site) -> list[Route]:
    """All paths that are served, but for WebSockets."""

    async def healthz(request: Request) -> Response:
        return _json({"status": "ok"})

    async def readyz(request: Request) -> Response:
        if site.draining():
            raise Busy("the daemon stops", retry_after=5)
        site.full()
        return _json({"status": "ok"})

    async def languages(request: Request) -> Response:
        return _json({"languages": site.languages(), "limits": site.limits, "auth": site.auth})

    async def document(request: Request) -> Response:
        return _json(openapi.document())

    async def metrics(request: Request) -> Response:
        return PlainTextResponse(
            render(site.metrics()), headers={"Cache-Control": "no-store"}, media_type="text/plain; version=0.0.4"
        )

    async def terminal(request: Request) -> Response:
        raise UpgradeRequired("this is a WebSocket's address", hint="connect by WebSocket, see docs/protocol.md")

    async def run(request: Request) -> Response:
        return await oneshot.execute(
            request, await request.body(), site.converse(head_of(request.scope), asked_of(request))
        )

    async def create_session(request: Request) -> Response:
        start = sessions.start_of(Fields.decode(await request.body()))
        return _json({"sessionId": await site.create_session(head_of(request.scope), asked_of(request), start)})

    async def delete_session(request: Request) -> Response:
        site.kill_session(request.path_params["id"])
        return Response(status_code=204)

    async def files(request: Request) -> Response:
        space = site.find_space(archives.join_key(head_of(request.scope)))
        return await (archives.upload if request.method == "PUT" else archives.download)(request, space)

    async def page(request: Request) -> Response:
        asset = site.assets.get(request.url.path)
        return PlainTextResponse(NO_PAGE, 503) if asset is None else await _asset(asset, request)

    return [
        Route("/healthz", healthz),
        Route("/readyz", readyz),
        Route("/metrics", metrics),
        Route("/api/v1/languages", languages),
        Route("/api/v1/openapi.json", document),
        Route("/api/v1/execute", run, methods=["POST"]),
        Route(archives.PATH, files, methods=["GET", "PUT"]),
        Route(sessions.PATH, create_session, methods=["POST"]),
        Route(f"{sessions.PATH}/{{id}}", delete_session, methods=["DELETE"]),
        *(Route(path, terminal) for path in (PATH, ws.PATH, f"{sessions.WATCH}{{id}}", f"{spaces.PATH}{{name}}/")),
        *(Route(path, page) for path in {"/", *site.assets}),
    ]


class _Guard:
    """Around the app: refuses foreign hosts, what foreign pages may not send, and bodies that are too large or never
    whole; adds the headers of every answer; lets no exception out."""

    def __init__(self, app: ASGIApp, site: Site) -> None:
        self._app = app
        self._site = site

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        head = head_of(scope)
        asked = identify(head, (scope.get("client") or ("", 0))[0], self._site.proxies)
        scope.setdefault("state", {})["asked"] = asked
        logs.bind(request=asked.id, client=asked.address)
        begun = False

        async def send_with_headers(message: Message) -> None:
            nonlocal begun
            if message["type"] == "http.response.start":
                begun = True
                headers = MutableHeaders(scope=message)
                headers.update(ALWAYS)
                headers["X-Request-Id"] = asked.id
                headers.update(cors.answer_headers(self._site.gate, head))
                headers.add_vary_header("Origin")
                if self._site.draining():
                    headers["Connection"] = "close"
            await send(message)

        try:
            self._site.gate.check_host(head)
            if cors.is_preflight(head):
                self._site.gate.check_origin(head)
                await Response(status_code=204, headers=cors.preflight_headers())(scope, receive, send_with_headers)
                return
            if head.method not in cors.SAFE:
                self._site.gate.check_origin(head)
            if scope["path"] != archives.PATH:
                receive = _bounded(receive, head, self._site.body_size, self._site.body_timeout or math.inf)
            await self._app(scope, receive, send_with_headers)
        except Exception as problem:
            # The app's own handler has told the client and the log of what it raises again.
            if not begun:
                await _respond(told(problem))(scope, receive, send_with_headers)


def _bounded(receive: Receive, head: Head, size: int, seconds: float) -> Receive:
    """A request's body, which raises TooLarge when more comes than `size` bytes: at once when it is announced; and
    BodyTimeout when it is not whole in `seconds` from now. What is heard of the client afterwards may take any time."""
    error = TooLarge(f"the request's body is longer than {size} bytes", hint="http.message_size is the limit")
    announced = head.get("content-length") or "0"
    if announced.isdigit() and int(announced) > size:
        raise error
    received, deadline = 0, trio.current_time() + seconds

    async def receive_bounded() -> Message:
        nonlocal received, deadline
        message: Message | None = None
        with trio.move_on_at(deadline):
            message = await receive()
        if message is None:
            raise BodyTimeout(
                f"the request's body was not whole within {seconds:g} s", hint="http.body_timeout is the limit"
            )
        received += len(message.get("body", b""))
        if received > size:
            raise error
        if not message.get("more_body", False):
            deadline = math.inf
        return message

    return receive_bounded


def head_of(scope: Scope) -> Head:
    """A request's head as WebSockets have it, for what serves both."""
    headers = tuple((name.decode("latin-1"), value.decode("latin-1")) for name, value in scope["headers"])
    query = scope.get("query_string", b"").decode("latin-1")
    return Head(scope["method"], f"{scope['path']}?{query}" if query else scope["path"], scope["http_version"], headers)


def asked_of(request: Request) -> Asked:
    """The request's id, and the address that counts for quotas."""
    return request.state.asked


async def _asset(asset: Asset, request: Request) -> Response:
    headers = {
        "Cache-Control": "public, max-age=31536000, immutable" if asset.immutable else "no-cache",
        "ETag": asset.etag,
        "Vary": "Accept-Encoding",
    }
    if asset.etag in request.headers.get("if-none-match", ""):
        return Response(status_code=304, headers=headers)
    content = asset.content
    if "gzip" in request.headers.get("accept-encoding", ""):
        packed = await trio.to_thread.run_sync(lambda: asset.packed)
        if packed is not None:
            content = packed
            headers["Content-Encoding"] = "gzip"
    return Response(content, headers=headers, media_type=asset.media_type)


def _json(value: Any) -> Response:
    return Response(msgspec.json.encode(value), headers={"Cache-Control": "no-store"}, media_type="application/json")


def _respond(error: RunnerdError, headers: dict[str, str] | None = None) -> Response:
    return Response(body(error), error.status, headers={**extra_headers(error), **(headers or {})}, media_type=PROBLEM)


async def _error(request: Request, problem: Exception) -> Response:
    return _respond(told(problem))


async def _starlette_error(request: Request, problem: Exception) -> Response:
    assert isinstance(problem, HTTPException)
    allow = (problem.headers or {}).get("Allow")
    if problem.status_code == 405 and allow is not None:
        return _respond(
            MethodNotAllowed(f"{request.method} is not for {request.url.path}", hint=f"use {allow}"), {"Allow": allow}
        )
    return _respond(NotFound(f"there is no {request.url.path}"))
