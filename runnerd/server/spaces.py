"""One connection to a space: carries out what a member asks, and tells it what happens there.

One task reads the client's messages and does each before the next is read; one tells news, one shows the terminal.
"""

import codecs
import os
import stat
from collections.abc import Sequence
from contextlib import ExitStack
from typing import Literal

import trio

from runnerd.errors import BadRequest, Busy, Forbidden, RunnerdError, Unauthorized
from runnerd.protocols import Event as TerminalEvent
from runnerd.protocols import Failed, Frame
from runnerd.protocols import spaces as wire
from runnerd.protocols.spaces.adapter import SpacesAdapter
from runnerd.sandbox.wire import Entry
from runnerd.server import logs
from runnerd.server.admission import Admission
from runnerd.server.auth import Client, Doorkeeper
from runnerd.server.drain import Drain
from runnerd.server.outbox import Transport
from runnerd.server.preview import Previews
from runnerd.server.translate import event_of
from runnerd.server.trouble import told
from runnerd.session import members
from runnerd.session.fetch import Request, request_of
from runnerd.session.members import Member
from runnerd.session.output import Chunk
from runnerd.session.space import Space
from runnerd.session.viewer import Viewer


class SpaceConversation:
    """One client at `address`. `key` is what came with the request's head, None when there was none."""

    def __init__(
        self,
        transport: Transport,
        admission: Admission,
        doorkeeper: Doorkeeper,
        drain: Drain,
        previews: Previews,
        address: str,
        key: str | None,
    ) -> None:
        self._transport, self._admission, self._doorkeeper, self._drain = transport, admission, doorkeeper, drain
        self._previews, self._address, self._key = previews, address, key
        self._adapter = SpacesAdapter()
        self._place: tuple[Space, Member] | None = None
        self._leaving = ExitStack()
        self._fetching = False

    async def run(self) -> None:
        """Serve until the client is gone, its space has ended, or the daemon stops. The space goes on."""
        with self._leaving:
            async with trio.open_nursery() as self._nursery:
                self._nursery.start_soon(self._leave_when_draining)
                await self._transport.listen(self._hear)
                self._nursery.cancel_scope.cancel()

    async def _hear(self, frame: Frame) -> bool:
        """Carry out what one frame asks for; False when the conversation is over."""
        commands, answers = self._adapter.receive(frame)
        for answer in answers:
            await self._transport.send(answer)
        for command in commands:
            try:
                await self._obey(command)
            except Unauthorized as problem:
                await self._send_away(problem)
                return False
            except Exception as problem:
                await self._tell(Failed(None, told(problem)))
        return True

    async def _obey(self, command: wire.Command) -> None:
        match command:
            case wire.Init():
                await self._init(command)
            case wire.Join():
                await self._join(command)
            case _ if self._place is None:
                raise BadRequest("this connection is in no space", hint="send init or join first")
            case wire.Revoke():
                await self._revoke(*self._place)
            case wire.Shell(text):
                if self._place[0].run is None:
                    self._admission.check_command(text)
                await self._place[0].shell(self._place[1], text)
            case wire.Press(key):
                await self._place[0].press(self._place[1], key)
            case wire.Kill():
                self._place[0].kill_program(self._place[1])
            case wire.Curl():
                self._curl(self._place[0], command)
            case wire.Preview(port):
                await self._tell(wire.Previewed(port, *self._previews.address(self._place[0], port)))
            case _:
                await self._file_work(*self._place, command)

    # --- coming in -------------------------------------------------------------------------------------------------

    async def _init(self, command: wire.Init) -> None:
        self._refuse_twice()
        space, credits = await self._admission.open_space(await self._client(command.key))
        member = self._come_in(space, command.user, command.color, host=True)
        await self._tell(wire.Made(space.join_key.text, credits))
        self._attend(member)

    async def _join(self, command: wire.Join) -> None:
        """Who shows the key that the space was made with is its host."""
        self._refuse_twice()
        space = self._admission.find_space(command.join)
        client = await self._client(command.key) if command.key is not None else None
        host = client is not None and client.key is not None and client.key.public_key == space.owner
        member = self._come_in(space, command.user, command.color, host=host)
        await self._tell(wire.Welcome(space.join_key.text, _person(member), _people(space)))
        self._attend(member)

    def _refuse_twice(self) -> None:
        if self._place is not None:
            raise BadRequest("this connection is in a space already", hint="open another connection")

    async def _client(self, given: str | None) -> Client:
        """Raises Unauthorized for a wrong key."""
        key = self._key if given is None else given
        if key is None:
            return Client(None, self._address)
        known = await self._doorkeeper.check(key)
        logs.bind(key=known.public_key)
        return Client(known, self._address)

    def _come_in(self, space: Space, user: str, color: str, *, host: bool) -> Member:
        member = space.join(user, color, host=host)
        self._leaving.callback(space.leave, member)
        self._place = space, member
        return member

    def _attend(self, member: Member) -> None:
        """After the answer to its coming, which is the first that it hears."""
        self._nursery.start_soon(self._tell_news, member)
        self._nursery.start_soon(self._show_terminal, member)

    async def _revoke(self, space: Space, member: Member) -> None:
        if not member.host:
            raise Forbidden("only the host of this space may revoke its join key")
        await self._tell(wire.NewKey(space.join_key.renew()))

    # --- files -----------------------------------------------------------------------------------------------------

    async def _file_work(self, space: Space, member: Member, command: wire.Command) -> None:
        space.stir()
        files = space.files
        match command:
            case wire.Write(path, content):
                space.write(member, path, content)
                await files.room()
            case wire.Project(folders, sources):
                await files.project(folders, sources)
                space.changed(member, "project", [*folders, *sources][0])
                await self._tell(wire.ProjectMade())
            case wire.Create(path, folder):
                await files.create(path, folder=folder)
                space.changed(member, "create", path)
            case wire.Rename(path, name):
                space.changed(member, "rename", path, await files.rename(path, name))
            case wire.Delete(path):
                await files.delete(path)
                space.changed(member, "delete", path)
            case wire.Read(path):
                await self._tell(wire.Content(path, await files.read(path)))
            case wire.List(path):
                entries, more = await files.list(path)
                await self._tell(wire.Listing(path, [_item(entry) for entry in entries], more))
            case _:
                raise AssertionError(command)

    # --- ports -----------------------------------------------------------------------------------------------------

    def _curl(self, space: Space, command: wire.Curl) -> None:
        """In a task of its own, which waits for what listens there. One at a time: chunks do not say whose they are."""
        if self._fetching:
            raise Busy("a curl is under way on this connection", retry_after=1)
        request = request_of(command.method, command.url, command.headers, command.data)
        self._fetching = True
        self._nursery.start_soon(self._fetch, space, request)

    async def _fetch(self, space: Space, request: Request) -> None:
        text = codecs.getincrementaldecoder("utf-8")(errors="replace")

        async def take(data: bytes, *, last: bool = False) -> None:
            if content := text.decode(data, last):
                await self._tell(wire.Chunk(content))

        try:
            answer = await space.fetch(request, take)
            await take(b"", last=True)
            end: wire.Event | Failed = wire.Fetched(answer.status, _joined(answer.headers))
        except Exception as problem:
            end = Failed(None, told(problem))
        self._fetching = False
        await self._tell(end)

    # --- what happens there ----------------------------------------------------------------------------------------

    async def _tell_news(self, member: Member) -> None:
        while True:
            for news in await member.news():
                if isinstance(news, members.Over):
                    await self._send_away(news.error)
                    self._nursery.cancel_scope.cancel()
                    return
                await self._tell(self._event_of(news))

    def _event_of(self, news: members.News) -> wire.Event | Failed:
        assert self._place is not None
        space, _ = self._place
        match news:
            case members.Came(who):
                return wire.Came(_person(who), _people(space))
            case members.Left(who):
                return wire.Left(_person(who), _people(space))
            case members.Changed(who, change, path, to):
                return wire.Changed(None if who is None else who.user, change, path, to)
            case members.Listening(port, open):
                return wire.Listening(port, open)
            case members.Refused(error) | members.Over(error):
                return Failed(None, told(error))
            case members.Missed():
                return wire.Missed(_people(space))
            case members.Warned(message, seconds):
                return wire.Warned(message, seconds)

    async def _show_terminal(self, member: Member) -> None:
        while True:
            viewer = await member.program()
            try:
                await self._follow(viewer)
            finally:
                viewer.close()

    async def _follow(self, viewer: Viewer) -> None:
        """Tell everything up to the program's end."""
        try:
            while True:
                event = await viewer.next()
                began = trio.current_time()
                await self._tell(event_of(0, event))
                if viewer.behind and isinstance(event, Chunk):
                    await self._transport.room()
                    viewer.took(len(event.data), trio.current_time() - began)
        except trio.EndOfChannel:
            return

    async def _leave_when_draining(self) -> None:
        """A space ends by itself then, which its members hear of."""
        await self._drain.begun.wait()
        if self._place is None:
            await self._transport.close(1001, "the daemon stops")

    async def _send_away(self, error: RunnerdError) -> None:
        await self._tell(Failed(None, error))
        await self._transport.close(error.close, error.message)

    async def _tell(self, event: wire.Event | TerminalEvent) -> None:
        for frame in self._adapter.send(event):
            await self._transport.send(frame)


def _person(member: Member) -> wire.Person:
    return wire.Person(member.user, member.color, member.host)


def _people(space: Space) -> list[wire.Person]:
    return [_person(member) for member in space.members]


def _joined(headers: Sequence[tuple[str, str]]) -> dict[str, str]:
    joined: dict[str, str] = {}
    for name, value in headers:
        joined[name] = f"{joined[name]}, {value}" if name in joined else value
    return joined


def _item(entry: Entry) -> wire.Item:
    name = os.fsencode(entry.name).decode(errors="replace")
    return wire.Item(name, _kind(entry.mode), entry.size, entry.mtime)


def _kind(mode: int) -> Literal["file", "folder", "link", "other"]:
    if stat.S_ISREG(mode):
        return "file"
    if stat.S_ISDIR(mode):
        return "folder"
    return "link" if stat.S_ISLNK(mode) else "other"
