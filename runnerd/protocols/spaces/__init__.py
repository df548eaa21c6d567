"""Command and Event values of protocol 002, `spaces`: what a member asks, and what it is told."""

from collections.abc import Sequence
from typing import Literal

import msgspec

PROFILE = "space"
PATH = "/ws/spaces/"

Change = Literal["project", "create", "write", "rename", "delete", "upload"]


# --- commands --------------------------------------------------------------------------------------------------


class Init(msgspec.Struct, frozen=True):
    """`key` is PUBLIC:SECRET, None when none was given."""

    key: str | None
    user: str
    color: str


class Join(msgspec.Struct, frozen=True):
    """`key` is needed by nobody, and shows who comes back as the host."""

    join: str
    user: str
    color: str
    key: str | None = None


class Revoke(msgspec.Struct, frozen=True):
    """The join key is good no more; the host gets another one."""


class Project(msgspec.Struct, frozen=True):
    """Paths here and below are relative to the work tree: checked, without "." and doubled slashes."""

    folders: tuple[str, ...]
    files: dict[str, bytes]


class Create(msgspec.Struct, frozen=True):
    path: str
    folder: bool


class Write(msgspec.Struct, frozen=True):
    path: str
    content: bytes


class Rename(msgspec.Struct, frozen=True):
    """`name` is the new base name: a thing stays in its folder."""

    path: str
    name: str


class Delete(msgspec.Struct, frozen=True):
    path: str


class Read(msgspec.Struct, frozen=True):
    path: str


class List(msgspec.Struct, frozen=True):
    """`path` "" is the work tree itself."""

    path: str


class Shell(msgspec.Struct, frozen=True):
    """A command line; or, while a program runs, a line of its input."""

    text: str


class Press(msgspec.Struct, frozen=True):
    """A key as a terminal sends it."""

    key: bytes


class Kill(msgspec.Struct, frozen=True):
    """The program that runs, with all that it has started."""


class Curl(msgspec.Struct, frozen=True):
    """An HTTP request to a port of the space."""

    method: str
    url: str
    headers: dict[str, str]
    data: bytes


class Preview(msgspec.Struct, frozen=True):
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


class Person(msgspec.Struct, frozen=True):
    user: str
    color: str
    host: bool


class Made(msgspec.Struct, frozen=True):
    """`credits` are what the key has left, None where no key is needed."""

    join: str
    credits: int | None


class Welcome(msgspec.Struct, frozen=True):
    """To one who has joined: the name it goes by, and who is there, itself among them."""

    join: str
    me: Person
    members: Sequence[Person]


class Came(msgspec.Struct, frozen=True):
    who: Person
    members: Sequence[Person]


class Left(msgspec.Struct, frozen=True):
    who: Person
    members: Sequence[Person]


class NewKey(msgspec.Struct, frozen=True):
    join: str


class ProjectMade(msgspec.Struct, frozen=True):
    pass


class Changed(msgspec.Struct, frozen=True):
    """What another member did, or a program (None); `to` is a renamed thing's path now."""

    user: str | None
    change: Change
    path: str
    to: str | None = None


class Listening(msgspec.Struct, frozen=True):
    """A program has opened this TCP port, or closed it."""

    port: int
    open: bool


class Missed(msgspec.Struct, frozen=True):
    """There was more news than the client took: it should list the tree anew."""

    members: Sequence[Person]


class Warned(msgspec.Struct, frozen=True):
    """`seconds` until the space ends, unless somebody does something about it; None: it may go on."""

    message: str
    seconds: float | None = None


class Content(msgspec.Struct, frozen=True):
    path: str
    content: bytes


class Item(msgspec.Struct, frozen=True):
    """One name in a folder: size in bytes, mtime in seconds since the epoch."""

    name: str
    kind: Literal["file", "folder", "link", "other"]
    size: int
    mtime: int


class Listing(msgspec.Struct, frozen=True):
    """`more`: there are more names than are told."""

    path: str
    items: Sequence[Item] = msgspec.field(default_factory=list[Item])
    more: bool = False


class Chunk(msgspec.Struct, frozen=True):
    """A part of what `curl` gets: text that is never torn within a character."""

    content: str


class Fetched(msgspec.Struct, frozen=True):
    """All chunks have been told. Of headers that came more than once the values are joined by commas."""

    status: int
    headers: dict[str, str]


class Previewed(msgspec.Struct, frozen=True):
    """`url` is whole, or a path on the server that the member speaks to; good for `seconds`."""

    port: int
    url: str
    seconds: float


News = Made | Welcome | Came | Left | NewKey | ProjectMade | Changed | Listening | Missed | Warned
Event = News | Content | Listing | Chunk | Fetched | Previewed
