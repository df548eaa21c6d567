"""Serves HTTP on an accepted stream by Hypercorn, which knows nothing of the listener and is kept from doing more."""

import logging
from typing import Any, cast

import h11
from hypercorn.app_wrappers import ASGIWrapper
from hypercorn.config import Config
from hypercorn.protocol.h11 import H11Protocol
from hypercorn.trio.task_group import TaskGroup
from hypercorn.trio.tcp_server import TCPServer
from hypercorn.trio.worker_context import WorkerContext
from hypercorn.typing import ASGIFramework, ConnectionState, LifespanState
from hypercorn.utils import parse_socket_addr  # pyright: ignore[reportUnknownVariableType]
from starlette.types import ASGIApp

from runnerd.server.head import Claims, Head, HeadTooLarge, from_request
from runnerd.server.stream import ConnectionStream

KEEP_ALIVE = 75.0
"""Seconds that an idle connection stays, or takes for its next head: longer than reverse proxies reuse theirs."""


class _Upgrade(Exception):
    """A WebSocket handshake, or what is served elsewhere, came on a connection that served HTTP before."""

    def __init__(self, head: Head, rest: bytes) -> None:
        self.head = head
        self.rest = rest


class _Protocol(H11Protocol):
    """HTTP/1.1 only: Hypercorn would also switch to h2c, and speak WebSocket with compression and no deadlines."""

    claims: Claims

    async def _check_protocol(self, event: h11.Request) -> None:
        head = from_request(event)
        if head.size > self.config.h11_max_incomplete_size:
            raise HeadTooLarge(self.config.h11_max_incomplete_size)
        if head.wants_websocket or self.claims(head):
            raise _Upgrade(head, self.connection.trailing_data[0])


class _Server(TCPServer):
    upgrade: Head | None = None
    claims: Claims

    async def run(self) -> None:
        """What the overridden method does for a stream without TLS; the stream stays open at an Upgrade, and when
        HeadTooLarge is raised."""
        socket = self.stream.socket
        client = (self.stream.peer, 0)
        server = parse_socket_addr(socket.family, socket.getsockname())
        refused: HeadTooLarge | None = None
        async with TaskGroup() as task_group:
            self._task_group = task_group
            self.protocol: Any = _Protocol(
                self.app,
                self.config,
                self.context,
                task_group,
                ConnectionState(self.state),
                False,
                client,
                server,
                self.protocol_send,
            )
            self.protocol.claims = self.claims
            await self.protocol.initiate()
            # No idle time yet, which ends at once when the daemon stops: a whole head is there to be answered.
            try:
                await self._read_data()
            except _Upgrade as upgrade:
                self.stream.replay(upgrade.head.encode() + upgrade.rest)
                self.upgrade = upgrade.head
                return
            except HeadTooLarge as problem:
                refused = problem
        if refused is not None:
            raise refused
        await self._close()


class HttpServer:
    """One Starlette app for all connections, for all requests but WebSockets and those that `elsewhere` claims."""

    def __init__(self, app: ASGIApp, *, head_size: int, elsewhere: Claims = lambda head: False) -> None:
        self._context: WorkerContext | None = None
        self._elsewhere = elsewhere
        self.adopt(app, head_size=head_size)

    def adopt(self, app: ASGIApp, *, head_size: int) -> None:
        """Serve new connections by this app from now on."""
        self._app = ASGIWrapper(cast(ASGIFramework, app))
        self._config = Config()
        self._config.errorlog = logging.getLogger("runnerd.server.hypercorn")
        self._config.include_server_header = False
        self._config.keep_alive_timeout = KEEP_ALIVE
        self._config.h11_max_incomplete_size = head_size

    async def terminate(self) -> None:
        """Close idle connections now, and the others after the answer that is under way."""
        if self._context is not None:
            await self._context.terminated.set()

    async def serve(self, stream: ConnectionStream) -> Head | None:
        """Answer requests until the connection closes: None. Or until a client asks for a WebSocket, or for what is
        served elsewhere: its head, which `stream` then replays. Raises HeadTooLarge, not answered yet, and whatever a
        client provokes in Hypercorn."""
        if self._context is None:
            self._context = WorkerContext(None)
        server = _Server(self._app, self._config, self._context, LifespanState({}), stream)  # pyright: ignore[reportArgumentType]
        server.claims = self._elsewhere
        await server.run()
        return server.upgrade
