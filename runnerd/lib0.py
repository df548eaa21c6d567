"""How Yjs writes its messages and updates (lib0): numbers by 7 bits a byte, bytes and text after their size. Pure."""

from runnerd.errors import BadRequest

SAFE = 2**53 - 1
"""The largest number that JavaScript holds exactly."""


class Reader:
    """Takes values off `data`, one after the other. All raise BadRequest when they are not there."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._at = 0

    @property
    def rest(self) -> int:
        """Bytes that were not taken."""
        return len(self._data) - self._at

    def byte(self) -> int:
        if self._at >= len(self._data):
            raise _cut()
        self._at += 1
        return self._data[self._at - 1]

    def uint(self) -> int:
        """A number up to SAFE."""
        value = self.byte()
        if value < 128:
            return value
        value &= 127
        shift = 7
        while True:
            byte = self.byte()
            value |= (byte & 127) << shift
            if value > SAFE or shift > 49:
                raise BadRequest("a number is beyond 53 bits")
            if byte < 128:
                return value
            shift += 7

    def sized(self) -> bytes:
        """Bytes whose size is written before them."""
        size = self.uint()
        if size > self.rest:
            raise _cut()
        self._at += size
        return self._data[self._at - size : self._at]

    def text(self) -> str:
        """Text whose size is written before it."""
        try:
            return self.sized().decode()
        except UnicodeDecodeError:
            raise BadRequest("a text is no UTF-8") from None

    def end(self) -> None:
        """Nothing may follow."""
        if self.rest:
            raise BadRequest(f"{self.rest} bytes too many")


def uint(value: int) -> bytes:
    """A number, as Reader.uint takes it."""
    out = bytearray()
    while value > 127:
        out.append(value & 127 | 128)
        value >>= 7
    out.append(value)
    return bytes(out)


def sized(data: bytes) -> bytes:
    """Bytes, as Reader.sized takes them."""
    return uint(len(data)) + data


def _cut() -> BadRequest:
    return BadRequest("it ends in the middle of a value")
