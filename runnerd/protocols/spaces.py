"""Protocol 002, `spaces`: a workspace with files, programs and people at /ws/spaces/NAME/. See docs/spaces.md."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import msgspec

from runnerd.errors import BadRequest, RunnerdError
from runnerd.protocols import Ended, Failed, Frame, Output, Skipped, StateChanged
from runnerd.protocols import Event as TerminalEvent
from runnerd.protocols.fields import Fields
from runnerd.protocols.trees import base_name, structure, tree_path

PROFILE = "space"
PATH = "/ws/spaces/"
TYPES = ("init", "join", "revoke", "cmd")
COMMANDS = ("project", "create", "write", "rename", "delete", "read", "list", "shell")
KEYS = {"Ctrl+C": b"\x03", "Ctrl+D": b"\x04", "Ctrl+Z": b"\x1a", "Ctrl+\\": b"\x1c"}
"""What `shell` types in place of a line."""

NAME_MAX = 64
"""Characters of a member's name, and of a colour."""

OWN = ("exited", "signal", "killed")
"""Ends of a program that need no explanation."""

Change = Literal["project", "create", "write", "rename", "delete"]


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


Command = Init | Join | Revoke | Project | Create | Write | Rename | Delete | Read | List | Shell | Press | Kill


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
    """What another member did; `to` is a renamed thing's path now."""

    user: str
    change: Change
    path: str
    to: str | None = None


@dataclass(frozen=True, slots=True)
class Missed:
    """There was more news than the client took: it should list the tree anew."""

    members: Sequence[Person]


@dataclass(frozen=True, slots=True)
class Warned:
    """`seconds` until the space ends, unless somebody does something about it."""

    message: str
    seconds: float


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


Event = Made | Welcome | Came | Left | NewKey | ProjectMade | Changed | Missed | Warned | Content | Listing


class SpacesAdapter:
    """One member's connection. Nothing raises."""

    def __init__(self) -> None:
        self._open = False
        """Whether the line that the terminal is in has been begun, and not ended."""

    def receive(self, frame: Frame) -> tuple[Sequence[Command], Sequence[Frame]]:
        """What the client's frame asks for, and frames to send back at once (errors)."""
        try:
            if isinstance(frame, bytes):
                raise BadRequest("frames are text here: JSON")
            fields = Fields.decode(frame)
            return [_message(fields.text("type", allowed=", ".join(TYPES)), fields)], []
        except RunnerdError as error:
            return [], [_error(error)]

    def send(self, event: Event | TerminalEvent) -> Sequence[Frame]:
        """The frames that tell an event; those of the terminal must come in their order."""
        match event:
            case Output():
                return list(self._text(event.data.decode(errors="replace")))
            case StateChanged(state="waiting"):
                return list(self._end_line())
            case Skipped():
                return [*self._end_line(), _frame("terminal-skipped", bytes=event.size)]
            case Ended():
                self._open = False
                reason = RunnerdError(event.message, code=event.outcome)
                return [*([] if event.outcome in OWN else [_error(reason)]), _frame("terminal-data-end")]
            case Failed():
                return [_error(event.error)]
            case Made() | Welcome() | Came() | Left() | NewKey() | ProjectMade() | Changed() | Missed() | Warned():
                return [_news(event)]
            case Content() | Listing():
                return [_answer(event)]
            case _:
                return []  # this protocol knows no other

    def _text(self, text: str) -> Iterator[Frame]:
        """Each line's text, and each newline, in a frame of its own; a partial line at once."""
        first, *others = text.split("\n")
        if first:
            yield self._line(first)
        for line in others:
            yield self._newline()
            if line:
                yield self._line(line)

    def _line(self, text: str) -> Frame:
        self._open = True
        return _frame("terminal-data", data=text)

    def _newline(self) -> Frame:
        self._open = False
        return _frame("terminal-newline", data="")

    def _end_line(self) -> Iterator[Frame]:
        if self._open:
            yield self._newline()


def _message(kind: str, fields: Fields) -> Command:
    match kind:
        case "init":
            return Init(_key(fields), _name(fields, "user", "host"), _name(fields, "color", "#22c55e"))
        case "join":
            user, color = _name(fields, "user", "member"), _name(fields, "color", "#6366f1")
            return Join(fields.text("join"), user, color, _key(fields))
        case "revoke":
            return Revoke()
        case "cmd":
            command = fields.inner("command")
            return _command(command.text("type", allowed=", ".join(COMMANDS)), command, fields)
        case _:
            raise _unknown("type", kind, TYPES)


def _command(kind: str, command: Fields, fields: Fields) -> Command:
    match kind:
        case "project":
            return Project(*structure(fields))
        case "create":
            item = command.text("item", "file", "file or folder")
            if item not in ("file", "folder"):
                raise BadRequest(f"item is {item[:20]!r}", hint="item: file or folder")
            return Create(tree_path(command.text("path")), item == "folder")
        case "write":
            return Write(tree_path(fields.text("path")), fields.content("content"))
        case "rename":
            return Rename(tree_path(fields.text("path")), base_name(fields.text("name"), "name"))
        case "delete":
            return Delete(tree_path(fields.text("path")))
        case "read":
            return Read(tree_path(fields.text("path")))
        case "list":
            return List(tree_path(fields.text("path", ""), whole=True))
        case "shell":
            text = command.text("command")
            if text == "Kill":
                return Kill()
            return Press(KEYS[text]) if text in KEYS else Shell(text)
        case _:
            raise _unknown("command", kind, COMMANDS)


def _unknown(what: str, found: str, known: Sequence[str]) -> BadRequest:
    return BadRequest(f"unknown {what} {found[:40]!r}", hint=f"known: {', '.join(known)}", code="unknown_type")


def _key(fields: Fields) -> str | None:
    public, secret = fields.optional("public_key"), fields.optional("secret_key")
    if (public is None) != (secret is None):
        raise BadRequest("half of a key was given", hint="send both public_key and secret_key")
    return None if secret is None else f"{public}:{secret}"


def _name(fields: Fields, name: str, default: str) -> str:
    text = fields.text(name, default).strip()
    if not text or len(text) > NAME_MAX or not text.isprintable():
        raise BadRequest(f"{name} is {text[:20]!r}", hint=f"{name}: 1 to {NAME_MAX} printable characters")
    return text


def _news(event: Event) -> Frame:
    match event:
        case Made():
            return _frame("init", join=event.join, remaining_credits=event.credits)
        case Welcome():
            me = event.me
            return _frame("join", join=event.join, user=me.user, color=me.color, members=_people(event.members))
        case Came() | Left():
            who, kind = event.who, "joined" if isinstance(event, Came) else "left"
            return _frame(kind, user=who.user, color=who.color, members=_people(event.members))
        case NewKey():
            return _frame("revoke", join=event.join)
        case ProjectMade():
            return _frame("msg", message="project created")
        case Changed():
            to = {} if event.to is None else {"to": event.to}
            return _frame("change", change=event.change, path=event.path, **to, user=event.user)
        case Missed():
            return _frame("missed", members=_people(event.members))
        case Warned():
            return _frame("warning", message=event.message, seconds=event.seconds)
        case _:
            raise AssertionError(event)


def _answer(event: Content | Listing) -> Frame:
    if isinstance(event, Listing):
        items = [{"name": each.name, "type": each.kind, "size": each.size, "mtime": each.mtime} for each in event.items]
        return _frame("list", path=event.path, items=items, more=event.more)
    try:
        return _frame("file", path=event.path, content=event.content.decode())
    except UnicodeDecodeError:
        return _frame("file", path=event.path, content={"base64": event.content})  # which msgspec encodes


def _people(members: Sequence[Person]) -> list[Mapping[str, Any]]:
    return [{"user": each.user, "color": each.color, "host": each.host} for each in members]


def _error(error: RunnerdError) -> Frame:
    return _frame("error", **error.fields())


def _frame(kind: str, **fields: Any) -> Frame:
    return msgspec.json.encode({"type": kind, **fields}).decode()
