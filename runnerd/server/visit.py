"""A connection of runnerd.v1 as a member of a space: how it comes in, what it is told there, and its terminals."""

from collections.abc import Sequence

import trio

from runnerd.errors import BadRequest
from runnerd.protocols import Failed, visits
from runnerd.protocols.spaces import Person, Warned
from runnerd.sandbox.spec import Window
from runnerd.server.admission import Admission
from runnerd.server.auth import Client
from runnerd.server.outbox import Outbox
from runnerd.server.trouble import told
from runnerd.session import members
from runnerd.session.members import Member
from runnerd.session.multiplexer import Multiplexer
from runnerd.session.space import Space
from runnerd.session.terminal import Seat


class Visit:
    """At most one space at a time. Its news are told by tasks of `nursery`; `leave` must follow."""

    def __init__(self, admission: Admission, outbox: Outbox, nursery: trio.Nursery) -> None:
        self._admission, self._outbox, self._nursery = admission, outbox, nursery
        self._place: tuple[Space, Member] | None = None

    async def obey(self, command: visits.Enter | visits.ListTerminals | visits.CloseTerminal, client: Client) -> None:
        """Raises BadRequest, NotFound (the join key, a terminal), Busy, Forbidden, SpaceEnded."""
        match command:
            case visits.Enter():
                await self._enter(command, client)
            case visits.ListTerminals():
                space, _ = self._there()
                space.stir()
                await self._outbox.tell(visits.Terminals(_items(space.terminals)))
            case visits.CloseTerminal(name):
                space, member = self._there()
                space.close_terminal(member, name)

    def seat(self, command: visits.OpenTerminal | visits.AttachTerminal) -> Seat:
        """Open a terminal, or find one, and attach to it. Raises as `obey`."""
        space, member = self._there()
        window = Window(command.rows, command.cols)
        if isinstance(command, visits.OpenTerminal):
            return Seat(space.open_terminal(member, command.name, window), window, 0, read_only=False)
        space.stir()
        terminal = space.terminals.find(command.name)
        return Seat(terminal, window, command.offset, read_only=command.read_only or not space.may_type(member))

    def leave(self) -> None:
        """The space goes on, and its terminals. Twice is no error."""
        if self._place is not None:
            space, member = self._place
            self._place = None
            space.leave(member)

    async def _enter(self, command: visits.Enter, client: Client) -> None:
        if self._place is not None:
            raise BadRequest("this connection is in a space already", hint="open another connection")
        space = self._admission.find_space(command.join)
        host = client.key is not None and client.key.public_key == space.owner
        member = space.join(command.user, command.color, host=host, watches=False)
        self._place = space, member
        terminals, seen = space.terminals, space.terminals.version
        await self._outbox.tell(visits.Entered(_person(member), _people(space), _items(terminals)))
        self._nursery.start_soon(self._tell_news, space, member, terminals, seen)

    async def _tell_news(self, space: Space, member: Member, terminals: Multiplexer, seen: int) -> None:
        """After the answer to its coming, which is the first that it hears."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._tell_terminals, terminals, seen)
            over = False
            while not over:
                for news in await member.news():
                    if isinstance(news, members.Over):
                        over = True
                        self.leave()  # before the client hears of it, and may ask for another
                    if (event := _event_of(news, space)) is not None:
                        await self._outbox.tell(event)
            nursery.cancel_scope.cancel()

    async def _tell_terminals(self, terminals: Multiplexer, seen: int) -> None:
        while True:
            seen = await terminals.changed(seen)
            await self._outbox.tell(visits.Terminals(_items(terminals)))

    def _there(self) -> tuple[Space, Member]:
        if self._place is None:
            raise BadRequest("this connection is in no space", hint="send join first")
        return self._place


def attached(stream: int, seat: Seat) -> visits.Attached:
    window = seat.terminal.window
    return visits.Attached(stream, seat.terminal.name, window.rows, window.cols, seat.read_only)


def _event_of(news: members.News, space: Space) -> visits.Event | Failed | None:
    """None for what only clients hear that work with the space's files."""
    match news:
        case members.Came(who):
            return visits.MembersChanged(_person(who), "joined", _people(space))
        case members.Left(who):
            return visits.MembersChanged(_person(who), "left", _people(space))
        case members.Warned(message, seconds):
            return Warned(message, seconds)
        case members.Over(error):
            return Failed(None, told(error))
        case _:
            return None


def _person(member: Member) -> Person:
    return Person(member.user, member.color, member.host)


def _people(space: Space) -> Sequence[Person]:
    return [_person(member) for member in space.members]


def _items(terminals: Multiplexer) -> Sequence[visits.TerminalItem]:
    return [
        visits.TerminalItem(
            each.name, each.window.rows, each.window.cols, len(each.seats), each.log.start, each.log.end
        )
        for each in terminals.terminals
    ]
