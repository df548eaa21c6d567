"""One connection to a document of a space: what y-websocket's WebsocketProvider speaks, carried out."""

from collections.abc import Sequence

import trio

from runnerd.errors import RunnerdError
from runnerd.protocols import Frame
from runnerd.protocols import documents as wire
from runnerd.server.admission import Admission
from runnerd.server.outbox import Transport
from runnerd.server.trouble import told
from runnerd.session.editors import Changed, Editor, News, Shown
from runnerd.session.space import Space

QUIET = 15.0
"""Seconds after which an empty message is sent: y-websocket hangs up after 30 without one."""


class DocumentConversation:
    """One client that asked for `path`, all of its URL's."""

    def __init__(self, transport: Transport, admission: Admission, path: str) -> None:
        self._transport, self._admission, self._path = transport, admission, path
        self._asked = False
        self._problem: RunnerdError | None = None

    async def run(self) -> None:
        """Serve until the client is gone, its document was closed, or its space has ended. Then say why."""
        try:
            join, path = wire.address(self._path)
            space = self._admission.find_space(join)
            async with space.editing(path) as editor:
                await self._serve(space, editor)
        except Exception as problem:
            self._problem = told(problem)
        if self._problem is not None:
            await self._transport.close(close_code(self._problem), f"{self._problem.code}: {self._problem.message}")

    async def _serve(self, space: Space, editor: Editor) -> None:
        async with trio.open_nursery() as nursery:

            async def hear(frame: Frame) -> bool:
                try:
                    await self._obey(space, editor, wire.decode(frame))
                except Exception as problem:
                    self._problem = told(problem)
                return self._problem is None

            nursery.start_soon(self._tell_news, editor, nursery.cancel_scope)
            await self._ask(editor)
            await self._transport.listen(hear)
            nursery.cancel_scope.cancel()

    async def _obey(self, space: Space, editor: Editor, message: wire.Message | None) -> None:
        document, pace = editor.document, space.files.documents.pace
        match message:
            case wire.State(vector):
                await pace.wait()
                with pace.taking():
                    missing = document.missing(vector)
                await self._send(wire.Update(missing, answer=True))
            case wire.Update(data, answer):
                space.stir()
                await pace.wait()
                with pace.taking():
                    fits = document.update(editor, data)
                if answer:
                    self._asked = False
                elif not fits:
                    await self._ask(editor)
            case wire.Cursors(cursors):
                for each in cursors:
                    document.show(editor, each.client, each.state)
            case wire.Query():
                editor.show(document.cursors.all())
            case None:
                pass

    async def _ask(self, editor: Editor) -> None:
        """What the client has and is lacking here comes as one answer, whatever gap there was."""
        if not self._asked:
            self._asked = True
            await self._send(wire.State(editor.document.state()))

    async def _tell_news(self, editor: Editor, serving: trio.CancelScope) -> None:
        try:
            while True:
                news: Sequence[News] = (Shown(()),)
                with trio.move_on_after(QUIET):
                    news = await editor.next()
                for each in news:
                    await self._send(_message(each))
        except RunnerdError as problem:
            self._problem = self._problem or told(problem)
            serving.cancel()

    async def _send(self, message: wire.Message) -> None:
        await self._transport.send(wire.encode(message))


def close_code(error: RunnerdError) -> int:
    """4404 for what is 404 in HTTP, as y-websocket takes it: after 4400 to 4499 it does not come back by itself."""
    return 4000 + error.status if 400 <= error.status < 500 else error.close


def _message(news: News) -> wire.Message:
    match news:
        case Changed(update):
            return wire.Update(update)
        case Shown(cursors):
            return wire.Cursors([wire.Cursor(each.client, each.clock, each.state) for each in cursors])
