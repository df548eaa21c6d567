"""An append-only log of a session's output, with absolute byte offsets over all channels together. No I/O."""

from bisect import bisect_right
from typing import Literal

import msgspec

OutputChannel = Literal["stdout", "stderr"]

_BLOCK = 64 * 1024
"""Small appends share a block of up to this size: a program that writes single bytes costs no object for each."""

_CONTINUATION = bytes(range(0x80, 0xC0))

_OWN_BLOCK = 16 * 1024
"""Appends from this size on are kept as they came: no copy."""


class Chunk(msgspec.Struct, frozen=True):
    """Consecutive bytes of one channel; `offset` is where the first of them is in the whole log."""

    channel: OutputChannel
    offset: int
    data: bytes


class OutputLog:
    """Bytes from `start` (the oldest that is kept) to `end`, the total that was ever logged. Any number of readers.

    `retain` is how many bytes are kept for replay. A character of UTF-8 is never torn: the beginning of one at the end
    of an append is held back, outside the log, until its channel's next append, `flush` or `finish`.
    """

    def __init__(self, retain: int) -> None:
        self.start = 0
        self.end = 0
        self._retain = retain
        self._held: dict[OutputChannel, bytes] = {}
        # Parallel lists, oldest first. Blocks before `_first` are dropped already, and cut off in batches.
        self._offsets: list[int] = []
        self._channels: list[OutputChannel] = []
        self._blocks: list[bytes | bytearray] = []
        self._first = 0

    @property
    def size(self) -> int:
        """All bytes that were appended, those held back included."""
        return self.end + sum(map(len, self._held.values())) if self._held else self.end

    def holds(self, channel: OutputChannel) -> bool:
        """Whether the beginning of a character is held back."""
        return channel in self._held

    def append(self, channel: OutputChannel, data: bytes) -> None:
        """Add bytes that a program wrote."""
        if self._held and channel in self._held:
            data = self._held.pop(channel) + data
        if data and data[-1] >= 0x80 and (torn := _torn(data)):
            self._held[channel] = data[-torn:]
            data = data[:-torn]
        if data:
            self._add(channel, data)

    def flush(self, channel: OutputChannel) -> None:
        """Give out what is held back: the rest of the character does not come soon."""
        if self._held and channel in self._held:
            self._add(channel, self._held.pop(channel))

    def finish(self) -> None:
        """Nothing will be appended any more."""
        for channel in tuple(self._held):
            self.flush(channel)

    def read(self, offset: int, limit: int) -> Chunk | None:
        """At most `limit` bytes of one channel from `offset` on; None when there are none yet.

        A reader that is behind `start` gets the oldest bytes kept: compare the chunk's offset. The cut at `limit` does
        not tear a character, unless `limit` is shorter than that character.
        """
        offset = max(offset, self.start)
        if offset >= self.end:
            return None
        index = bisect_right(self._offsets, offset, self._first) - 1
        channel, block = self._channels[index], self._blocks[index]
        skip = offset - self._offsets[index]
        available = len(block) - skip
        if available <= limit and (index + 1 == len(self._blocks) or self._channels[index + 1] != channel):
            return Chunk(channel, offset, bytes(block) if not skip else bytes(block[skip:]))
        parts: list[bytes | bytearray] = []
        wanted = limit
        while wanted and index < len(self._blocks) and self._channels[index] == channel:
            part = self._blocks[index][skip : skip + wanted]
            parts.append(part)
            wanted -= len(part)
            skip = 0
            index += 1
        data = b"".join(parts)
        if not wanted and data[-1] >= 0x80 and offset + len(data) < self.end:
            data = data[: len(data) - _torn(data)] or data
        return Chunk(channel, offset, data)

    def line_after(self, offset: int, limit: int) -> int:
        """Where the first line after `offset` begins, within `limit` bytes; without one, the first whole character."""
        chunk = self.read(offset, limit)
        if chunk is None:
            return self.end
        newline = chunk.data.find(b"\n")
        if newline >= 0:
            return chunk.offset + newline + 1
        return chunk.offset + len(chunk.data) - len(chunk.data.lstrip(_CONTINUATION))

    def _add(self, channel: OutputChannel, data: bytes) -> None:
        tail = self._blocks[-1] if self._blocks else b""
        if len(data) >= _OWN_BLOCK:
            self._begin(channel, data)
        elif isinstance(tail, bytearray) and self._channels[-1] == channel and len(tail) + len(data) <= _BLOCK:
            tail += data
        else:
            self._begin(channel, bytearray(data))
        self.end += len(data)
        if self.end - self.start > self._retain:
            self._drop(self.end - self._retain)

    def _begin(self, channel: OutputChannel, block: bytes | bytearray) -> None:
        self._offsets.append(self.end)
        self._channels.append(channel)
        self._blocks.append(block)

    def _drop(self, start: int) -> None:
        """Forget what is before `start`. A block goes when nothing of it is kept any more."""
        self.start = start
        first = bisect_right(self._offsets, start, self._first) - 1
        if start == self.end:
            first = len(self._blocks)
        for index in range(self._first, first):
            self._blocks[index] = b""
        self._first = first
        if first > 64 and first * 2 > len(self._blocks):
            del self._offsets[:first], self._channels[:first], self._blocks[:first]
            self._first = 0


def _torn(data: bytes) -> int:
    """How many bytes at the end of `data` begin a character of UTF-8 that is not whole: 0 to 3."""
    for back in range(1, min(3, len(data)) + 1):
        byte = data[-back]
        if byte >= 0xC0:
            needs = 2 if 0xC2 <= byte < 0xE0 else 3 if 0xE0 <= byte < 0xF0 else 4 if 0xF0 <= byte < 0xF5 else 0
            return back if needs > back else 0
        if byte < 0x80:
            return 0
    return 0
