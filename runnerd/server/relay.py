"""One HTTP/1.1 exchange, or a WebSocket, carried between a client and a server in a space.

Both sides are parsed, and framed anew: where one side takes a message to end, the other does too. Neither connection is
used for another exchange.
"""

from collections.abc import Callable

import h11
import trio
from trio.abc import HalfCloseableStream

from runnerd.errors import BadRequest, RunnerdError
from runnerd.server.stream import ConnectionStream

CHUNK = 65536
HEAD_MAX = 65536
"""Bytes of an answer's head; the request's was measured before."""

Headers = list[tuple[str, str]]


class BadGateway(RunnerdError):
    """What a server in a space answers is not HTTP/1.1."""

    code, status = "bad_gateway", 502


class GatewayTimeout(RunnerdError):
    """Nothing moved for too long, and there is no answer."""

    code, status = "gateway_timeout", 504


class Relay:
    """`client` replays the request. `patience`: seconds without an answer, and in which no more of the request moved,
    that are too long. `moved` is called whenever something did; `answered` maps the answer's headers to what the client
    gets.

    `began`: the client has been sent something of the answer.
    """

    def __init__(
        self,
        client: ConnectionStream,
        patience: float,
        moved: Callable[[], None],
        answered: Callable[[Headers], Headers],
    ) -> None:
        self._client = client
        self._patience, self._moved, self._answered = patience, moved, answered
        self._from = h11.Connection(h11.SERVER, max_incomplete_event_size=HEAD_MAX)
        self._to = h11.Connection(h11.CLIENT, max_incomplete_event_size=HEAD_MAX)
        self._waiting = trio.CancelScope()
        self._settled = trio.Event()
        self.began = False
        self._problem: RunnerdError | None = None

    async def run(self, server: trio.SocketStream, method: str, target: str, headers: Headers) -> None:
        """Send `server`, a fresh connection, this head and the body that the client sends, and give the client the
        answer as it comes. Returns when the exchange is over, or the client gone.

        Raises BadRequest, BadGateway and GatewayTimeout before anything was answered, and trio.BrokenResourceError when
        an answer breaks off: the connection must then be closed without more words.
        """
        self._server = server
        try:
            await self._next(self._from, self._client)
            await self._send(self._to, self._server, h11.Request(method=method, target=target, headers=headers))
        except h11.ProtocolError as problem:
            raise BadRequest(f"the request cannot be passed on: {problem}") from None
        except trio.BrokenResourceError:
            raise BadGateway("the server in the space hung up") from None
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._upload, headers, nursery.cancel_scope)
            await self._answer()
            nursery.cancel_scope.cancel()
        if self._problem is not None:
            raise self._problem

    # --- the request -----------------------------------------------------------------------------------------------

    async def _upload(self, headers: Headers, exchange: trio.CancelScope) -> None:
        """The request's body; then wait for the client to leave, for whom nothing need be fetched any more."""
        try:
            await self._send_body()
            if any(name == "upgrade" for name, _ in headers):
                await self._settled.wait()
            if self._from.their_state is h11.SWITCHED_PROTOCOL:
                return  # what follows is the WebSocket's
            while await self._client.receive_some(CHUNK):
                pass
        except h11.ProtocolError as problem:
            self._problem = None if self.began else BadRequest(f"the request's body is malformed: {problem}")
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            self._client.abort()
        exchange.cancel()

    async def _send_body(self) -> None:
        while self._from.their_state is h11.SEND_BODY:
            if self._from.they_are_waiting_for_100_continue and not self.began:
                await self._send(self._from, self._client, h11.InformationalResponse(status_code=100, headers=[]))
            event = await self._next(self._from, self._client)
            try:
                await self._send(self._to, self._server, event)
            except (trio.BrokenResourceError, trio.ClosedResourceError):
                return  # it may have answered before it hung up
            self._waiting.deadline = trio.current_time() + self._patience
            self._moved()

    # --- the answer ------------------------------------------------------------------------------------------------

    async def _answer(self) -> None:
        self._waiting.deadline = trio.current_time() + self._patience
        try:
            head: h11.Response | h11.InformationalResponse | None = None
            with self._waiting:
                head = await self._head()
            if head is None:
                hint = "is it busy? preview.answer is how long it may take"
                self._problem = GatewayTimeout(f"no answer came within {self._patience:g} s", hint=hint)
            elif isinstance(head, h11.InformationalResponse):
                await self._switch(head)
            else:
                await self._body(head)
        except (h11.ProtocolError, trio.BrokenResourceError) as problem:
            if self.began:
                raise trio.BrokenResourceError("the answer broke off") from problem
            why = str(problem) if isinstance(problem, h11.ProtocolError) else "it broke the connection"
            self._problem = BadGateway(
                f"what listens there gave no answer that is HTTP/1.1: {why}", hint="is it an HTTP server?"
            )

    async def _head(self) -> h11.Response | h11.InformationalResponse:
        while True:
            event = await self._next(self._to, self._server)
            if not isinstance(event, h11.Response | h11.InformationalResponse):
                raise h11.RemoteProtocolError("it hung up")
            if isinstance(event, h11.Response) or event.status_code == 101:
                return event

    async def _body(self, head: h11.Response) -> None:
        headers = [*self._answered(_text(head)), ("connection", "close")]
        response = h11.Response(status_code=head.status_code, headers=headers, reason=head.reason)
        data = self._from.send(response) or b""
        self.began = True
        self._settled.set()
        await self._client.send_all(data)
        while not isinstance(event := await self._next(self._to, self._server), h11.ConnectionClosed):
            self._moved()
            await self._send(self._from, self._client, event)
            if isinstance(event, h11.EndOfMessage):
                return

    # --- WebSockets ------------------------------------------------------------------------------------------------

    async def _switch(self, head: h11.InformationalResponse) -> None:
        """From now on bytes, which neither side may mistake for anything else."""
        headers = [*self._answered(_text(head)), ("connection", "Upgrade"), ("upgrade", "websocket")]
        self.began = True
        data = self._from.send(h11.InformationalResponse(status_code=101, headers=headers)) or b""
        self._settled.set()
        await self._client.send_all(data)
        early, (late, _) = self._from.trailing_data[0], self._to.trailing_data
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._copy, early, self._client, self._server, nursery.cancel_scope)
            nursery.start_soon(self._copy, late, self._server, self._client, nursery.cancel_scope)

    async def _copy(
        self, data: bytes, source: HalfCloseableStream, sink: HalfCloseableStream, both: trio.CancelScope
    ) -> None:
        """Until one side ends: neither can do anything alone."""
        try:
            if data:
                await sink.send_all(data)
            while data := bytes(await source.receive_some(CHUNK)):
                self._moved()
                await sink.send_all(data)
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            pass
        both.cancel()

    # --- inner workings --------------------------------------------------------------------------------------------

    async def _next(self, connection: h11.Connection, stream: HalfCloseableStream) -> h11.Event:
        while (event := connection.next_event()) is h11.NEED_DATA:
            connection.receive_data(bytes(await stream.receive_some(CHUNK)))
        if not isinstance(event, h11.Event):
            raise h11.RemoteProtocolError("it goes on in another protocol")
        if isinstance(event, h11.EndOfMessage):
            return h11.EndOfMessage()  # trailers are headers that nobody has looked at
        return event

    async def _send(self, connection: h11.Connection, stream: HalfCloseableStream, event: h11.Event) -> None:
        if data := connection.send(event):
            await stream.send_all(data)


def _text(answer: h11.Response | h11.InformationalResponse) -> Headers:
    return [(name.decode("latin-1"), value.decode("latin-1")) for name, value in answer.headers]
