"""Adapters between wire formats and sessions. Pure: no sockets, no trio, no os.

An adapter turns a frame into commands and an event into frames. Every adapter speaks in the values below, so that the
same conversation runs each of them over WebSocket, REST or an event stream. A stream is one program of a connection,
named by a number that the client chose.
"""

from collections.abc import Sequence
from typing import Literal, Protocol

import msgspec

from runnerd.errors import RunnerdError
from runnerd.protocols import visits

Mode = Literal["terminal", "split", "pipes"]
State = Literal["created", "running", "waiting", "finished", "terminated"]
Frame = str | bytes
"""A text frame (JSON) or a binary frame."""


# --- commands: what a client wants -----------------------------------------------------------------------------


class Authenticate(msgspec.Struct, frozen=True):
    key: str


class Start(msgspec.Struct, frozen=True):
    """Run `files` by a language's toolchain, or `argv` as it is when given. The path "" is the toolchain's own name."""

    stream: int
    language: str
    files: dict[str, bytes] = msgspec.field(default_factory=dict[str, bytes])
    main: str | None = None
    args: tuple[str, ...] = ()
    argv: tuple[str, ...] | None = None
    env: dict[str, str] = msgspec.field(default_factory=dict[str, str])
    mode: Mode = "terminal"
    rows: int = 24
    cols: int = 80
    stdin: bytes | None = None
    """Given: fed to the program and then closed."""
    limits: dict[str, float] = msgspec.field(default_factory=dict[str, float])
    """Wishes by the names of sandbox.spec.Limits; only what is lower than the profile's is granted."""
    profile: str = "default"
    keep: bool = False
    """Among the variables of the runs before of this language on the connection, which are kept for the next."""
    token: str | None = None
    """A widget's, in whose name it is started; otherwise in that of the connection's key."""


class Attach(msgspec.Struct, frozen=True):
    """Watch a session that was started elsewhere, from `offset` on; it goes on when the connection ends."""

    stream: int
    session: str
    offset: int = 0


class Input(msgspec.Struct, frozen=True):
    stream: int
    data: bytes


class CloseInput(msgspec.Struct, frozen=True):
    stream: int


class Resize(msgspec.Struct, frozen=True):
    stream: int
    rows: int
    cols: int


class Signal(msgspec.Struct, frozen=True):
    """`signal` is a name without SIG, for example INT."""

    stream: int
    signal: str


class Kill(msgspec.Struct, frozen=True):
    stream: int


class Ping(msgspec.Struct, frozen=True):
    id: str | int | None


Command = Authenticate | Start | Input | CloseInput | Resize | Signal | Kill | Ping | visits.Command


# --- events: what happened -------------------------------------------------------------------------------------


class Started(msgspec.Struct, frozen=True):
    """`timings` in milliseconds since the start was asked: box (made and asked), program (answered as running)."""

    stream: int
    session: str
    language: str
    mode: Mode
    timings: dict[str, float]


class Output(msgspec.Struct, frozen=True):
    """`offset` counts all bytes of the session's output before these, both channels together."""

    stream: int
    channel: Literal["stdout", "stderr"]
    offset: int
    data: bytes


class StateChanged(msgspec.Struct, frozen=True):
    stream: int
    state: State


class Skipped(msgspec.Struct, frozen=True):
    """So many bytes of output are left out: the client was behind when the program was interrupted."""

    stream: int
    size: int


class Ended(msgspec.Struct, frozen=True):
    """`outcome` is one of sandbox.spec.Outcome. `cpu`, `wall` in seconds, `memory` in bytes, `timings` in ms."""

    stream: int
    outcome: str
    code: int | None
    signal: str | None
    message: str
    cpu: float
    memory: int
    wall: float
    timings: dict[str, float]


class Failed(msgspec.Struct, frozen=True):
    """An error about one stream (or the connection, stream None); the connection goes on.

    `over`: the stream has no program, or has none any more.
    """

    stream: int | None
    error: RunnerdError
    over: bool = False


class Pong(msgspec.Struct, frozen=True):
    """`time` is the server's, in seconds since the epoch."""

    id: str | int | None
    time: float


class Draining(msgspec.Struct, frozen=True):
    """The daemon stops; running sessions may go on for `seconds`."""

    seconds: float


Event = Started | Output | StateChanged | Skipped | Ended | Failed | Pong | Draining | visits.Event


class Adapter(Protocol):
    """One wire format, one connection. Raises nothing for bad input: it answers `Failed` events as frames instead."""

    def receive(self, frame: Frame) -> tuple[Sequence[Command], Sequence[Frame]]:
        """What the client's frame asks for, and frames to send back at once (errors)."""
        ...

    def send(self, *events: Event) -> Sequence[Frame]:
        """The frames that tell these events, which are known at the same moment, in their order."""
        ...
