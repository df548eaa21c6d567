"""What a client of runnerd.v1 asks of a space and its terminals, and what it is told of them. Values only."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from runnerd.protocols.spaces import Person

# --- commands --------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Enter:
    """Become a member of the space that the join key opens."""

    join: str
    user: str
    color: str


@dataclass(frozen=True, slots=True)
class OpenTerminal:
    """Open a terminal and attach to it; `name` None lets the space choose one."""

    stream: int
    name: str | None
    rows: int
    cols: int


@dataclass(frozen=True, slots=True)
class AttachTerminal:
    """Watch a terminal from `offset` of its output on."""

    stream: int
    name: str
    offset: int
    rows: int
    cols: int
    read_only: bool


@dataclass(frozen=True, slots=True)
class Detach:
    """Leave a terminal, which goes on."""

    stream: int


@dataclass(frozen=True, slots=True)
class ListTerminals:
    pass


@dataclass(frozen=True, slots=True)
class CloseTerminal:
    """End a terminal, with all that was started in it."""

    name: str


Command = Enter | OpenTerminal | AttachTerminal | Detach | ListTerminals | CloseTerminal


# --- events ----------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class TerminalItem:
    """`start` and `end` are offsets: the oldest output that is kept, and all that there was."""

    name: str
    rows: int
    cols: int
    viewers: int
    start: int
    end: int


@dataclass(frozen=True, slots=True)
class Entered:
    """The name that the client goes by, who is there, itself among them, and the terminals."""

    me: Person
    members: Sequence[Person]
    terminals: Sequence[TerminalItem]


@dataclass(frozen=True, slots=True)
class MembersChanged:
    who: Person
    change: Literal["joined", "left"]
    members: Sequence[Person]


@dataclass(frozen=True, slots=True)
class Terminals:
    """All there are; told when asked, and when one was opened or has ended."""

    terminals: Sequence[TerminalItem]


@dataclass(frozen=True, slots=True)
class Attached:
    """The first event of a stream that shows a terminal, which is so large at the moment."""

    stream: int
    name: str
    rows: int
    cols: int
    read_only: bool


@dataclass(frozen=True, slots=True)
class Detached:
    """The last event of a stream that its client has left."""

    stream: int


@dataclass(frozen=True, slots=True)
class Resized:
    """The terminal is so large from here on."""

    stream: int
    rows: int
    cols: int


@dataclass(frozen=True, slots=True)
class Warned:
    """`seconds` until the space ends, unless somebody does something about it; None for what has no time."""

    message: str
    seconds: float | None


Event = Entered | MembersChanged | Terminals | Attached | Detached | Resized | Warned
