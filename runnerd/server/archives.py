"""GET and PUT /api/v1/spaces/files: a space's tree as a tar stream, opened by its join key.

The key comes by header: a path or query would stand in every proxy's log.
"""

from collections.abc import AsyncIterator

import trio
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from runnerd.errors import RunnerdError, Unauthorized
from runnerd.protocols.spaces.trees import tree_path
from runnerd.server.auth import key_in
from runnerd.server.head import Head
from runnerd.session.archive import ClientGone
from runnerd.session.space import Space

PATH = "/api/v1/spaces/files"

SILENCE = 60.0
"""Seconds that a client may send nothing in the midst of an archive."""

GZIP = ("application/gzip", "application/x-gzip")


def join_key(head: Head) -> str:
    """Raises Unauthorized when none was given."""
    if (key := key_in(head)) is None:
        raise Unauthorized("no join key was given", hint="send Authorization: Bearer JOIN_KEY")
    return key


async def upload(request: Request, space: Space) -> Response:
    """Unpack the body. 204 when all of it is in the tree."""
    path = tree_path(request.query_params.get("path", ""), whole=True)
    packed = request.headers.get("content-type", "") in GZIP or request.headers.get("content-encoding", "") == "gzip"
    await space.upload(path, _body(request), packed=packed)
    return Response(status_code=204)


async def _body(request: Request) -> AsyncIterator[bytes]:
    """Raises ClientGone."""
    stream = aiter(request.stream())
    while True:
        part: bytes | None = None
        try:
            with trio.move_on_after(SILENCE):
                part = await anext(stream)
        except StopAsyncIteration:
            return
        except ClientDisconnect:
            part = None
        if part is None:
            raise ClientGone("the archive did not come to its end")
        yield part


async def download(request: Request, space: Space) -> Response:
    """The folder that `path` names; with Accept: application/gzip packed."""
    path = tree_path(request.query_params.get("path", ""), whole=True)
    return _Archive(space, path, packed=request.headers.get("accept", "") in GZIP)


class _Archive(Response):
    """What goes wrong before the first byte is answered by status; later the answer is cut off."""

    def __init__(self, space: Space, path: str, *, packed: bool) -> None:
        kind = GZIP[0] if packed else "application/x-tar"
        super().__init__(media_type=kind, headers={"Cache-Control": "no-store"})
        del self.headers["content-length"]
        self._space, self._path, self._packed = space, path, packed

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        failed: list[RunnerdError] = []
        async with trio.open_nursery() as nursery:
            nursery.start_soon(_until_gone, receive, nursery.cancel_scope)
            try:
                await self._send(send)
            except RunnerdError as problem:
                failed.append(problem)
            nursery.cancel_scope.cancel()
        if failed:
            raise failed[0]

    async def _send(self, send: Send) -> None:
        begun = False
        async with self._space.download(self._path, packed=self._packed) as parts:
            async for part in parts:
                if not begun:
                    begun = True
                    await send({"type": "http.response.start", "status": 200, "headers": self.raw_headers})
                await send({"type": "http.response.body", "body": part, "more_body": True})
        await send({"type": "http.response.body", "body": b""})


async def _until_gone(receive: Receive, scope: trio.CancelScope) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
    scope.cancel()
