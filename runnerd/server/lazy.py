"""HTTP that is loaded after the daemon's start: runs over WebSockets need none of it, and without it a daemon is back
for them a quarter sooner."""

from typing import TYPE_CHECKING

import trio

from runnerd.server.head import Claims, Head
from runnerd.server.site import Site
from runnerd.server.stream import ConnectionStream

if TYPE_CHECKING:
    from starlette.types import ASGIApp

    from runnerd.server.asgi import HttpServer

SOON = 5.0
"""Seconds after the start until it is loaded though nobody asked: no page should wait for it, nor an upgrade under the
running daemon change what is loaded."""


class LazyHttp:
    """A site on the HTTP server of asgi.py, whose methods these are."""

    def __init__(self, site: Site, *, head_size: int, elsewhere: Claims) -> None:
        self._site, self._head_size, self._elsewhere = site, head_size, elsewhere
        self._server: HttpServer | None = None
        self._loading = trio.Lock()

    def adopt(self, site: Site, *, head_size: int) -> None:
        """Serve new connections by this site from now on."""
        self._site, self._head_size = site, head_size
        if self._server is not None:
            self._server.adopt(_app(site), head_size=head_size)

    async def terminate(self) -> None:
        """Close idle connections now, and the others after the answer that is under way."""
        if self._server is not None:
            await self._server.terminate()

    async def serve(self, stream: ConnectionStream) -> Head | None:
        """As HttpServer.serve, once it is loaded."""
        return await (self._server or await self._load()).serve(stream)

    async def load_soon(self) -> None:
        """Load it when who came first is served."""
        await trio.sleep(SOON)
        await self._load()

    async def _load(self) -> "HttpServer":
        async with self._loading:
            if self._server is None:
                http_server = await trio.to_thread.run_sync(_import)  # in a thread: no terminal waits for it
                self._server = http_server(_app(self._site), head_size=self._head_size, elsewhere=self._elsewhere)
        return self._server


def _import() -> "type[HttpServer]":
    import runnerd.server.http  # pyright: ignore[reportUnusedImport]  # noqa: F401
    from runnerd.server.asgi import HttpServer

    return HttpServer


def _app(site: Site) -> "ASGIApp":
    from runnerd.server.http import make_app

    return make_app(site)
