"""Values that describe a box, a program and how it ended. No I/O."""

from enum import StrEnum
from typing import Literal

import msgspec

Mode = Literal["terminal", "split", "pipes"]
LimitsMode = Literal["cgroup", "best-effort"]

MiB = 1024 * 1024


class Outcome(StrEnum):
    """Why a run ended: one vocabulary in every protocol."""

    EXITED = "exited"
    SIGNAL = "signal"
    WALL = "wall"
    IDLE = "idle"
    CPU = "cpu"
    MEMORY = "memory"
    PROCESSES = "processes"
    OUTPUT = "output"
    KILLED = "killed"
    COMPILE_ERROR = "compile_error"
    FAILED = "failed"


class Limits(msgspec.Struct, frozen=True):
    """What one box may use. Sizes are bytes, times seconds, `cpus` cores. A profile is a named set of these.

    A zero time, output or io means no such limit. `cpus` and `io` are held by cgroup limits only.
    """

    memory: int = 256 * MiB
    processes: int = 64
    cpus: float = 1.0
    cpu: float = 30.0
    wall: float = 300.0
    idle: float = 120.0
    output: int = 8 * MiB
    work: int = 64 * MiB
    tmp: int = 64 * MiB
    shm: int = 16 * MiB
    files: int = 512
    """Open descriptors per process."""
    io: int = 0
    """Bytes per second from and to each disk."""


class Bind(msgspec.Struct, frozen=True):
    """A host folder or file shown read-only in a box at `target`."""

    source: str
    target: str


class BoxSpec(msgspec.Struct, frozen=True):
    """All that decides how a box is built. Equal specs make interchangeable boxes.

    `work` is where the program's files live: a tmpfs of its own, or a folder inside /tmp (profile `widget`), which
    then shares /tmp's size. `filters` are BPF programs (see seccomp.py), loaded in order by init; `landlock` lists
    the only folders that may be written (() = no Landlock layer); `masked` lists files of /proc that tell of the host
    and cannot be opened, which must exist. `processes_end`: a box that meets its process limit
    ends (held by cgroup limits only); otherwise fork gives EAGAIN, and the program goes on.
    """

    limits: Limits = msgspec.field(default_factory=Limits)
    binds: tuple[Bind, ...] = ()
    filters: tuple[bytes, ...] = ()
    landlock: tuple[str, ...] = ("/work", "/tmp", "/dev", "/proc")
    masked: tuple[str, ...] = ()
    work: str = "/work"
    processes_end: bool = False
    hostname: str = "box"


class Window(msgspec.Struct, frozen=True):
    """A terminal's size in character cells."""

    rows: int = 24
    cols: int = 80


class Launch(msgspec.Struct, frozen=True):
    """A program to start in a box. `cwd` is absolute, as seen in the box; `env` is the whole environment."""

    argv: tuple[str, ...]
    env: dict[str, str]
    mode: Mode = "terminal"
    cwd: str = "/work"
    window: Window = Window()

    def __hash__(self) -> int:  # a dict has none
        return hash((self.argv, self.mode, self.cwd, self.window))


class Usage(msgspec.Struct, frozen=True):
    """What a program used: CPU seconds (user + system), peak resident bytes, wall seconds."""

    cpu: float = 0.0
    memory: int = 0
    wall: float = 0.0


class Exit(msgspec.Struct, frozen=True):
    """The end of one program as the kernel told it. `code` is set when it exited, `signal` when a signal ended it."""

    code: int | None
    signal: int | None
    cpu: float
    memory: int
