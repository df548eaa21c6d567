"""What a client of runnerd.v1 asks of a space and its terminals, and what it is told of them. Values only."""

from collections.abc import Sequence
from typing import Literal

import msgspec

from runnerd.protocols.spaces import Person, Warned

# --- commands --------------------------------------------------------------------------------------------------


class Enter(msgspec.Struct, frozen=True):
    """Become a member of the space that the join key opens."""

    join: str
    user: str
    color: str


class OpenTerminal(msgspec.Struct, frozen=True):
    """Open a terminal and attach to it; `name` None lets the space choose one."""

    stream: int
    name: str | None
    rows: int
    cols: int


class AttachTerminal(msgspec.Struct, frozen=True):
    """Watch a terminal from `offset` of its output on."""

    stream: int
    name: str
    offset: int
    rows: int
    cols: int
    read_only: bool


class Detach(msgspec.Struct, frozen=True):
    """Leave a terminal, which goes on."""

    stream: int


class ListTerminals(msgspec.Struct, frozen=True):
    pass


class CloseTerminal(msgspec.Struct, frozen=True):
    """End a terminal, with all that was started in it."""

    name: str


Command = Enter | OpenTerminal | AttachTerminal | Detach | ListTerminals | CloseTerminal


# --- events ----------------------------------------------------------------------------------------------------


class TerminalItem(msgspec.Struct, frozen=True):
    """`start` and `end` are offsets: the oldest output that is kept, and all that there was."""

    name: str
    rows: int
    cols: int
    viewers: int
    start: int
    end: int


class Entered(msgspec.Struct, frozen=True):
    """The name that the client goes by, who is there, itself among them, and the terminals."""

    me: Person
    members: Sequence[Person]
    terminals: Sequence[TerminalItem]


class MembersChanged(msgspec.Struct, frozen=True):
    who: Person
    change: Literal["joined", "left"]
    members: Sequence[Person]


class Terminals(msgspec.Struct, frozen=True):
    """All there are; told when asked, and when one was opened or has ended."""

    terminals: Sequence[TerminalItem]


class Attached(msgspec.Struct, frozen=True):
    """The first event of a stream that shows a terminal, which is so large at the moment."""

    stream: int
    name: str
    rows: int
    cols: int
    read_only: bool


class Detached(msgspec.Struct, frozen=True):
    """The last event of a stream that its client has left."""

    stream: int


class Resized(msgspec.Struct, frozen=True):
    """The terminal is so large from here on."""

    stream: int
    rows: int
    cols: int


Event = Entered | MembersChanged | Terminals | Attached | Detached | Resized | Warned
