"""The messages of Yjs's y-websocket, for one text file of a space. Pure: bytes in, values out, and the other way round.

A connection to `/ws/documents/JOIN/PATH` is about one document; each message is binary and whole.
"""

from collections.abc import Sequence
from urllib.parse import unquote

import msgspec

from runnerd.errors import BadRequest
from runnerd.lib0 import Reader, sized, uint
from runnerd.protocols import Frame
from runnerd.protocols.spaces.trees import tree_path

PATH = "/ws/documents/"

_SYNC, _AWARENESS, _AUTH, _QUERY = range(4)
_STATE, _MISSING, _UPDATE = range(3)


class State(msgspec.Struct, frozen=True):
    """What the sender has, as a state vector; it wants to hear what it lacks."""

    vector: bytes


class Update(msgspec.Struct, frozen=True):
    """A change of the document. `answer`: all that the receiver lacked, as it had asked."""

    data: bytes
    answer: bool = False


class Cursor(msgspec.Struct, frozen=True):
    """What a Yjs client shows of itself: JSON as text, "null" when it is gone. `clock` only grows."""

    client: int
    clock: int
    state: str


class Cursors(msgspec.Struct, frozen=True):
    cursors: Sequence[Cursor]


class Query(msgspec.Struct, frozen=True):
    """The sender wants to hear all cursors."""


Message = State | Update | Cursors | Query


def address(path: str) -> tuple[str, str]:
    """A request's path below PATH: (join key, path in the work tree). Raises BadRequest."""
    join, _, name = path.removeprefix(PATH).partition("/")
    try:
        return unquote(join, errors="strict"), tree_path(unquote(name, errors="strict"))
    except UnicodeDecodeError:
        raise BadRequest("the address is no UTF-8", hint=f"{PATH}JOIN/PATH, percent-encoded") from None


def decode(frame: Frame) -> Message | None:
    """One message; None for one of no meaning here. Raises BadRequest."""
    if isinstance(frame, str):
        raise BadRequest("a message is text", hint="Yjs's messages are binary")
    reader = Reader(bytes(frame))
    message: Message | None = None
    match reader.uint():
        case 0:
            message = _sync(reader)
        case 1:
            message = _cursors(Reader(reader.sized()))
        case 2:
            return None
        case 3:
            message = Query()
        case other:
            raise BadRequest(f"a message is of the unknown kind {other}")
    reader.end()
    return message


def encode(message: Message) -> bytes:
    match message:
        case State(vector):
            return bytes((_SYNC, _STATE)) + sized(vector)
        case Update(data, answer):
            return bytes((_SYNC, _MISSING if answer else _UPDATE)) + sized(data)
        case Cursors(cursors):
            parts = [uint(each.client) + uint(each.clock) + sized(each.state.encode()) for each in cursors]
            return bytes((_AWARENESS,)) + sized(uint(len(cursors)) + b"".join(parts))
        case Query():
            return bytes((_QUERY,))


def _sync(reader: Reader) -> State | Update:
    kind, data = reader.uint(), reader.sized()
    if kind == _STATE:
        return State(data)
    if kind in (_MISSING, _UPDATE):
        return Update(data, answer=kind == _MISSING)
    raise BadRequest(f"a message is of the unknown kind 0, {kind}")


def _cursors(reader: Reader) -> Cursors:
    cursors = [Cursor(reader.uint(), reader.uint(), reader.text()) for _ in range(reader.uint())]
    reader.end()
    return Cursors(cursors)
