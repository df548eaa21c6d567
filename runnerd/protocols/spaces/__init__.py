"""Command and Event values of protocol 002, `spaces`: what a member asks, and what it is told."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

PROFILE = "space"
PATH = "/ws/spaces/"

Change = Literal["project", "create", "write", "rename", "delete", "upload"]


# --- commands --------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Init:
    """`key` is PUBLIC:SECRET, None when none was given."""

    key: str | None
    user: str
    color: str


@dataclass(frozen=True, slots=True)
class Join:
    """`key` is needed by nobody, and shows who comes back as the host."""

    join: str
    user: str
    color: str
    key: str | None = None


@dataclass(frozen=True, slots=True)
class Revoke:
    """The join key is good no more; the host gets another one."""


@dataclass(frozen=True, slots=True)
class Project:
    """Paths here and below are relative to the work tree: checked, without "." and doubled slashes."""

    folders: tuple[str, ...]
    files: dict[str, bytes]


@dataclass(frozen=True, slots=True)
class Create:
    path: str
    folder: bool


@dataclass(frozen=True, slots=True)
class Write:
    path: str
    content: bytes


@dataclass(frozen=True, slots=True)
class Rename:
    """`name` is the new base name: a thing stays in its folder."""

    path: str
    name: str


@dataclass(frozen=True, slots=True)
class Delete:
    path: str


@dataclass(frozen=True, slots=True)
class Read:
    path: str


@dataclass(frozen=True, slots=True)
class List:
    """`path` "" is the work tree itself."""

    path: str


@dataclass(frozen=True, slots=True)
class Shell:
    """A command line; or, while a program runs, a line of its input."""

    text: str


@dataclass(frozen=True, slots=True)
class Press:
    """A key as a terminal sends it."""

    key: bytes


@dataclass(frozen=True, slots=True)
class Kill:
    """The program that runs, with all that it has started."""


@dataclass(frozen=True, slots=True)
class Curl:
    """An HTTP request to a port of the space."""

    method: str
    url: str
    headers: dict[str, str]
    data: bytes


@dataclass(frozen=True, slots=True)
class Preview:
    """Where a browser finds what listens on a port of the space."""

    port: int


Command = (
    Init
    | Join
    | Revoke
    | Project
    | Create
    | Write
    | Rename
    | Delete
    | Read
    | List
    | Shell
    | Press
    | Kill
    | Curl
    | Preview
)


# --- events ----------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Person:
    user: str
    color: str
    host: bool


@dataclass(frozen=True, slots=True)
class Made:
    """`credits` are what the key has left, None where no key is needed."""

    join: str
    credits: int | None


@dataclass(frozen=True, slots=True)
class Welcome:
    """To one who has joined: the name it goes by, and who is there, itself among them."""

    join: str
    me: Person
    members: Sequence[Person]


@dataclass(frozen=True, slots=True)
class Came:
    who: Person
    members: Sequence[Person]


@dataclass(frozen=True, slots=True)
class Left:
    who: Person
    members: Sequence[Person]


@dataclass(frozen=True, slots=True)
class NewKey:
    join: str


@dataclass(frozen=True, slots=True)
class ProjectMade:
    pass


@dataclass(frozen=True, slots=True)
class Changed:
    """What another member did, or a program (None); `to` is a renamed thing's path now."""

    user: str | None
    change: Change
    path: str
    to: str | None = None


@dataclass(frozen=True, slots=True)
class Listening:
    """A program has opened this TCP port, or closed it."""

    port: int
    open: bool


@dataclass(frozen=True, slots=True)
class Missed:
    """There was more news than the client took: it should list the tree anew."""

    members: Sequence[Person]


@dataclass(frozen=True, slots=True)
class Warned:
    """`seconds` until the space ends, unless somebody does something about it; None: it may go on."""

    message: str
    seconds: float | None = None


@dataclass(frozen=True, slots=True)
class Content:
    path: str
    content: bytes


@dataclass(frozen=True, slots=True)
class Item:
    """One name in a folder: size in bytes, mtime in seconds since the epoch."""

    name: str
    kind: Literal["file", "folder", "link", "other"]
    size: int
    mtime: int


@dataclass(frozen=True, slots=True)
class Listing:
    """`more`: there are more names than are told."""

    path: str
    items: Sequence[Item] = field(default_factory=list[Item])
    more: bool = False


@dataclass(frozen=True, slots=True)
class Chunk:
    """A part of what `curl` gets: text that is never torn within a character."""

    content: str


@dataclass(frozen=True, slots=True)
class Fetched:
    """All chunks have been told. Of headers that came more than once the values are joined by commas."""

    status: int
    headers: dict[str, str]


@dataclass(frozen=True, slots=True)
class Previewed:
    """`url` is whole, or a path on the server that the member speaks to; good for `seconds`."""

    port: int
    url: str
    seconds: float


News = Made | Welcome | Came | Left | NewKey | ProjectMade | Changed | Listening | Missed | Warned
Event = News | Content | Listing | Chunk | Fetched | Previewed
