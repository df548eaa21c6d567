"""Makes the conversations of the daemon: by path for WebSockets, one at a time for REST."""

import time
from collections.abc import Callable
from urllib.parse import parse_qs

from runnerd.errors import BadRequest
from runnerd.protocols import Adapter, Attach, documents, sessions, spaces, ws
from runnerd.protocols.terminal import PATH, SUBPROTOCOL, TerminalAdapter
from runnerd.server.admission import Admission
from runnerd.server.asked import Asked
from runnerd.server.auth import Doorkeeper
from runnerd.server.conversation import Conversation
from runnerd.server.documents import DocumentConversation
from runnerd.server.drain import Drain
from runnerd.server.head import Head
from runnerd.server.listener import ServeWebSocket
from runnerd.server.outbox import Transport
from runnerd.server.preview import Previews
from runnerd.server.site import Converse
from runnerd.server.spaces import SpaceConversation
from runnerd.server.stream import ConnectionStream
from runnerd.server.websocket import Keepalive, WebSocketTransport, serve_websocket


class Conversations:
    """`keepalive` tells the settings of a WebSocket as they are now."""

    def __init__(
        self,
        admission: Admission,
        doorkeeper: Doorkeeper,
        drain: Drain,
        keepalive: Callable[[], Keepalive],
        previews: Previews,
    ) -> None:
        self._previews = previews
        self._admission, self._doorkeeper, self._drain, self._keepalive = admission, doorkeeper, drain, keepalive

    def by_path(self) -> dict[str, ServeWebSocket]:
        """Who serves which path; as Listener takes them."""
        return {
            PATH: self._terminal,
            ws.PATH: self._ws,
            sessions.WATCH: self._watch,
            spaces.PATH: self._space,
            f"{documents.PATH}**": self._document,
        }

    def once(self, head: Head, asked: Asked) -> Converse:
        """For one run, whose client sends nothing after it."""
        key = self._doorkeeper.key_in(head)

        async def converse(transport: Transport, adapter: Adapter) -> None:
            await self._conversation(transport, adapter, asked.address, key, once=True).run()

        return converse

    async def _terminal(self, stream: ConnectionStream, head: Head) -> None:
        await self._converse(stream, head, TerminalAdapter(), (SUBPROTOCOL,))

    async def _ws(self, stream: ConnectionStream, head: Head) -> None:
        await self._converse(stream, head, ws.WsAdapter(time.monotonic))

    async def _watch(self, stream: ConnectionStream, head: Head) -> None:
        attach = Attach(0, head.path.removeprefix(sessions.WATCH), _offset(head))
        self._admission.find(attach.session)
        await self._converse(stream, head, sessions.SessionAdapter(), attach=attach)

    async def _space(self, stream: ConnectionStream, head: Head) -> None:
        key, address = self._doorkeeper.key_in(head), stream.asked.address

        async def converse(transport: WebSocketTransport) -> None:
            await SpaceConversation(
                transport, self._admission, self._doorkeeper, self._drain, self._previews, address, key
            ).run()

        await serve_websocket(stream, head, self._keepalive(), (), converse)

    async def _document(self, stream: ConnectionStream, head: Head) -> None:
        async def converse(transport: WebSocketTransport) -> None:
            await DocumentConversation(transport, self._admission, head.path).run()

        await serve_websocket(stream, head, self._keepalive(), (), converse)

    async def _converse(
        self,
        stream: ConnectionStream,
        head: Head,
        adapter: Adapter,
        subprotocols: tuple[str, ...] = (),
        attach: Attach | None = None,
    ) -> None:
        key, address = self._doorkeeper.key_in(head), stream.asked.address

        async def converse(transport: WebSocketTransport) -> None:
            await self._conversation(transport, adapter, address, key, attach, once=attach is not None).run()

        await serve_websocket(stream, head, self._keepalive(), subprotocols, converse)

    def _conversation(
        self,
        transport: Transport,
        adapter: Adapter,
        address: str,
        key: str | None,
        attach: Attach | None = None,
        *,
        once: bool,
    ) -> Conversation:
        return Conversation(
            transport, adapter, self._admission, self._doorkeeper, self._drain, address, key, attach, once
        )


def _offset(head: Head) -> int:
    """Where a client wants to go on, from its query. Raises BadRequest."""
    text = parse_qs(head.target.partition("?")[2]).get("offset", ["0"])[-1]
    if not (text.isascii() and text.isdigit() and len(text) < 16):
        raise BadRequest(f"offset is {text[:20]!r}", hint="offset: how many bytes of output were read before")
    return int(text)
