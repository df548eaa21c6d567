"""POST /api/v1/execute: a conversation about one run over HTTP, answered as one JSON object or as an event stream."""

import time
from collections.abc import Awaitable, Callable

import msgspec
import trio
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from runnerd.errors import RunnerdError
from runnerd.protocols import Frame
from runnerd.protocols.execute import Collector, StreamAdapter, error_frame
from runnerd.server.site import Converse

HEARTBEAT = 15.0
"""Seconds of silence after which an event stream says a comment, so that no proxy thinks it dead."""


class _Exchange:
    """One request as a transport: its body comes in, and then nothing until the client leaves."""

    def __init__(self, body: bytes, gone: trio.Event, out: Callable[[Frame], Awaitable[None]]) -> None:
        self._body, self._gone, self._out = body, gone, out

    async def listen(self, hear: Callable[[Frame], Awaitable[bool]]) -> None:
        if await hear(self._body):
            await self._gone.wait()

    async def send(self, frame: Frame) -> None:
        await self._out(frame)

    async def room(self) -> None:
        await trio.lowlevel.checkpoint()  # its sends wait for that

    async def close(self, code: int, reason: str) -> None:
        await trio.lowlevel.checkpoint()


async def execute(request: Request, body: bytes, converse: Converse) -> Response:
    """The answer to one run. Raises RunnerdError for what kept it from being run."""
    if "text/event-stream" in request.headers.get("accept", ""):
        return _EventStream(body, converse)
    collector = Collector(time.monotonic)
    async with trio.open_nursery() as nursery:
        gone = trio.Event()
        nursery.start_soon(_watch_client, request.receive, gone)
        await converse(_Exchange(body, gone, _nothing), collector)
        nursery.cancel_scope.cancel()
    if collector.answer is None:
        raise collector.error or RunnerdError("the client has left")
    return Response(
        msgspec.json.encode(collector.answer), headers={"Cache-Control": "no-store"}, media_type="application/json"
    )


class _EventStream(Response):
    """Server-sent events, one for each frame. Errors that come before anything else are raised, and told by status."""

    def __init__(self, body: bytes, converse: Converse) -> None:
        super().__init__(media_type="text/event-stream", headers={"Cache-Control": "no-store"})
        del self.headers["content-length"]
        self._body, self._converse = body, converse

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        begun = False
        silence = trio.CancelScope()
        turn = trio.Lock()

        async def out(data: bytes) -> None:
            nonlocal begun
            silence.deadline = trio.current_time() + HEARTBEAT
            async with turn:
                if not begun:
                    begun = True
                    await send({"type": "http.response.start", "status": 200, "headers": self.raw_headers})
                await send({"type": "http.response.body", "body": data, "more_body": True})

        async def event(frame: Frame) -> None:
            data = frame if isinstance(frame, bytes) else frame.encode()
            await out(b"data: " + data + b"\n\n")

        async def beat() -> None:
            nonlocal silence
            while True:
                with trio.CancelScope(deadline=trio.current_time() + HEARTBEAT) as silence:
                    await trio.sleep_forever()
                await out(b":\n\n")

        adapter = StreamAdapter(time.monotonic)
        async with trio.open_nursery() as nursery:
            gone = trio.Event()
            nursery.start_soon(_watch_client, receive, gone)
            nursery.start_soon(beat)
            await self._converse(_Exchange(self._body, gone, event), adapter)
            nursery.cancel_scope.cancel()
        if adapter.error is not None:
            if not begun:
                raise adapter.error
            await event(error_frame(adapter.error, adapter.id))
        if begun:
            await send({"type": "http.response.body", "body": b""})


async def _watch_client(receive: Receive, gone: trio.Event) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
    gone.set()


async def _nothing(frame: Frame) -> None:
    await trio.lowlevel.checkpoint()
