"""What an update of a Yjs document holds, looked at before the library is given it. Pure.

Only plain text comes through: strings in the root "text", and deletions. Nested types, values, subdocuments and formats
have no place in a file, and depths and sizes that the library might not survive. The format is Yjs's update v1.
"""

from collections.abc import Mapping

import msgspec

from runnerd.errors import BadRequest, TooLarge
from runnerd.lib0 import Reader

ROOT = "text"
"""The name of the text in its document: doc.getText("text")."""

STRUCTS_MAX = 20_000
"""Structs and deleted ranges of one update, and clients that it or a state vector speaks of."""

CLOCK_MAX = 2**31 - 1

_GC, _DELETED, _STRING, _SKIP = 0, 1, 4, 10
_ORIGIN, _RIGHT = 0x80, 0x40


class Shape(msgspec.Struct):
    """`ranges`: which clocks of which client it brings, from and to. `needs`: up to which clock of which client it
    speaks of what must be there. `whole`: without a gap inside. `weight`: its structs and deleted ranges."""

    ranges: dict[int, tuple[int, int]] = msgspec.field(default_factory=dict[int, tuple[int, int]])
    needs: dict[int, int] = msgspec.field(default_factory=dict[int, int])
    whole: bool = True
    weight: int = 0

    def fits(self, known: Mapping[int, int]) -> bool:
        """Whether who has these clocks of these clients lacks nothing that it builds on."""
        return (
            self.whole
            and all(known.get(client, 0) >= begin for client, (begin, _) in self.ranges.items())
            and all(
                max(known.get(client, 0), self.ranges.get(client, (0, 0))[1]) >= clock
                for client, clock in self.needs.items()
            )
        )

    def need(self, client: int, clock: int) -> None:
        """It speaks of this client's clocks below `clock`."""
        if clock > self.needs.get(client, 0):
            self.needs[client] = clock


def shape_of(update: bytes, most: int = STRUCTS_MAX) -> Shape:
    """Raises BadRequest for what is no update of a plain text, TooLarge for one of more than `most` parts."""
    shape, reader = Shape(), Reader(update)
    for _ in range(reader.uint()):
        structs, client, clock = reader.uint(), reader.uint(), reader.uint()
        if client in shape.ranges:
            raise BadRequest("an update speaks of a client twice")
        _weigh(shape, structs, most)
        begin = clock
        for _ in range(structs):
            clock += _struct(reader, shape, client, clock)
            if clock > CLOCK_MAX:
                raise BadRequest("an update is beyond what a document can hold")
        if structs:
            shape.ranges[client] = begin, clock
    for _ in range(reader.uint()):
        client, deletions = reader.uint(), reader.uint()
        _weigh(shape, deletions, most)
        for _ in range(deletions):
            clock, length = reader.uint(), _length(reader)
            shape.need(client, clock + length)
    reader.end()
    return shape


def clocks_of(vector: bytes) -> dict[int, int]:
    """A state vector: how much of which client its sender has. Raises BadRequest, TooLarge."""
    reader = Reader(vector)
    count = reader.uint()
    if count > STRUCTS_MAX:
        raise TooLarge(f"a state vector speaks of more than {STRUCTS_MAX} clients")
    clocks = {reader.uint(): reader.uint() for _ in range(count)}
    reader.end()
    if any(clock > CLOCK_MAX for clock in clocks.values()):
        raise BadRequest("a state vector is beyond what a document can hold")
    return clocks


def _struct(reader: Reader, shape: Shape, client: int, clock: int) -> int:
    """Read one struct; how many clocks it takes."""
    info = reader.byte()
    if info in (_GC, _SKIP):
        shape.whole = shape.whole and info == _GC
        return _length(reader)
    kind, flags = info & 0x1F, info & 0xE0
    if kind not in (_DELETED, _STRING) or flags & ~(_ORIGIN | _RIGHT):
        raise BadRequest("an update holds more than plain text", hint=f'a document is doc.getText("{ROOT}")')
    for flag in (_ORIGIN, _RIGHT):
        if flags & flag:
            neighbour, its_clock = reader.uint(), reader.uint()
            if neighbour == client and its_clock >= clock:
                raise BadRequest("an update builds on itself")
            shape.need(neighbour, its_clock + 1)
    if not flags and (reader.uint() != 1 or reader.text() != ROOT):
        raise BadRequest("an update is of another type than the text", hint=f'a document is doc.getText("{ROOT}")')
    if kind == _DELETED:
        return _length(reader)
    text = reader.text()
    if not text:
        raise BadRequest("an update holds an empty text")
    return len(text.encode("utf-16-le")) // 2


def _weigh(shape: Shape, parts: int, most: int) -> None:
    shape.weight += 1 + parts
    if shape.weight > most:
        raise TooLarge(f"an update has more than {most} parts")


def _length(reader: Reader) -> int:
    length = reader.uint()
    if not 0 < length <= CLOCK_MAX:
        raise BadRequest(f"an update holds a part of the length {length}")
    return length
