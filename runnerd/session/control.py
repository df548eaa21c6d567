"""The daemon's end of a kernel's control socket: code goes out, checked messages come in.

One JSON object per line. The driver is in the box with the code it runs, so what it says is data to check.
"""

import base64
import json
import socket
from typing import Annotated

import msgspec
import trio
from msgspec import Meta

from runnerd.errors import KernelDied

LINE_MAX = 8192
"""The longest message of a driver."""

Number = Annotated[int, Meta(ge=1, le=2**53)]


class Begun(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag_field="type", tag="begun"):
    """The code of run `run` is about to be executed: interrupts are for it."""

    run: Number


class Done(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag_field="type", tag="done"):
    """It has come to its end, and all that it wrote is written. `code` None: interrupted."""

    run: Number
    code: Annotated[int, Meta(ge=0, le=255)] | None


class Refused(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag_field="type", tag="refused"):
    """It could not be begun. The kernel lives on."""

    run: Number
    message: Annotated[str, Meta(max_length=1000)]


Message = Begun | Done | Refused

_decoder: msgspec.json.Decoder[Message] = msgspec.json.Decoder(Message)


class Control:
    """A connection to a driver, which belongs to this until `close`."""

    def __init__(self, sock: socket.socket) -> None:
        self._stream = trio.SocketStream(trio.socket.from_stdlib_socket(sock))
        self._received = bytearray()

    async def run(
        self,
        number: int,
        code: bytes,
        main: str,
        args: tuple[str, ...],
        env: dict[str, str],
        stdin: bytes | None,
    ) -> None:
        """Ask for a run. Waits until the driver has taken it. Raises KernelDied."""
        request = {
            "run": number,
            "code": base64.b64encode(code).decode(),
            "main": main,
            "args": args,
            "env": env,
            "stdin": None if stdin is None else base64.b64encode(stdin).decode(),
        }
        try:
            await self._stream.send_all(json.dumps(request).encode() + b"\n")
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            raise KernelDied("the kernel has closed its control connection") from None

    async def answer(self, number: int) -> Message:
        """The next message, which must be about run `number`. Raises KernelDied when it is not, or none comes."""
        while (end := self._received.find(b"\n")) < 0:
            if len(self._received) > LINE_MAX:
                raise KernelDied(f"the kernel sent more than {LINE_MAX} bytes without an end of line")
            try:
                data = await self._stream.receive_some(LINE_MAX)
            except (trio.BrokenResourceError, trio.ClosedResourceError):
                data = b""
            if not data:
                raise KernelDied("the kernel has closed its control connection")
            self._received += data
        line = bytes(self._received[:end])
        del self._received[: end + 1]
        try:
            message = _decoder.decode(line)
        except (msgspec.ValidationError, msgspec.DecodeError, UnicodeDecodeError) as problem:
            raise KernelDied(f"the kernel sent a malformed message: {problem}") from None
        if message.run != number:
            raise KernelDied(f"the kernel sent {type(message).__name__} of run {message.run} during run {number}")
        return message

    def close(self) -> None:
        self._stream.socket.close()
