"""Protocol 002, `spaces`: a workspace with files, programs and people at /ws/spaces/NAME/. See docs/spaces.md."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import msgspec

from runnerd.errors import BadRequest, RunnerdError
from runnerd.protocols import Ended, Failed, Frame, Output, Skipped, StateChanged
from runnerd.protocols import Event as TerminalEvent
from runnerd.protocols.fields import Fields
from runnerd.protocols.spaces import (
    Came,
    Changed,
    Chunk,
    Command,
    Content,
    Create,
    Curl,
    Delete,
    Event,
    Fetched,
    Init,
    Join,
    Kill,
    Left,
    List,
    Listening,
    Listing,
    Made,
    Missed,
    NewKey,
    News,
    Person,
    Press,
    Preview,
    Previewed,
    Project,
    ProjectMade,
    Read,
    Rename,
    Revoke,
    Shell,
    Warned,
    Welcome,
    Write,
)
from runnerd.protocols.spaces.trees import base_name, structure, tree_path

TYPES = ("init", "join", "revoke", "cmd")
COMMANDS = ("project", "create", "write", "rename", "delete", "read", "list", "shell", "curl", "preview")
KEYS = {"Ctrl+C": b"\x03", "Ctrl+D": b"\x04", "Ctrl+Z": b"\x1a", "Ctrl+\\": b"\x1c"}
"""What `shell` types in place of a line."""

OWN = ("exited", "signal", "killed")
"""Ends of a program that need no explanation."""


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
            case Content() | Listing():
                return [_answer(event)]
            case Chunk():
                return [_frame("chunk", content=event.content)]
            case Fetched():
                return [_frame("end", status=event.status, headers=event.headers)]
            case Previewed():
                return [_frame("preview", port=event.port, url=event.url, expires=event.seconds)]
            case Made() | Welcome() | Came() | Left() | NewKey() | ProjectMade():
                return [_news(event)]
            case Changed() | Listening() | Missed() | Warned():
                return [_news(event)]
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
            return Init(_key(fields), fields.label("user", "host"), fields.label("color", "#22c55e"))
        case "join":
            user, color = fields.label("user", "member"), fields.label("color", "#6366f1")
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
        case "curl":
            data = fields.content("data") if "data" in fields else b""
            return Curl(fields.text("method", "GET"), fields.text("url"), fields.texts("headers"), data)
        case "preview":
            return Preview(fields.number("port", None, 1, 65535))
        case _:
            raise _unknown("command", kind, COMMANDS)


def _unknown(what: str, found: str, known: Sequence[str]) -> BadRequest:
    return BadRequest(f"unknown {what} {found[:40]!r}", hint=f"known: {', '.join(known)}", code="unknown_type")


def _key(fields: Fields) -> str | None:
    public, secret = fields.optional("public_key"), fields.optional("secret_key")
    if (public is None) != (secret is None):
        raise BadRequest("half of a key was given", hint="send both public_key and secret_key")
    return None if secret is None else f"{public}:{secret}"


def _news(event: News) -> Frame:
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
        case Listening():
            return _frame("port", port=event.port, open=event.open)
        case Missed():
            return _frame("missed", members=_people(event.members))
        case Warned():
            seconds = {} if event.seconds is None else {"seconds": event.seconds}
            return _frame("warning", message=event.message, **seconds)


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
