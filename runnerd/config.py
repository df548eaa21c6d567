"""The configuration: TOML -> typed values. Without a file the defaults hold."""

import difflib
import os
import re
import tomllib
from pathlib import Path
from typing import Annotated, Any, Literal, cast

import msgspec
from msgspec import Meta

from runnerd.errors import ConfigError

_UNITS = {"": 1, "B": 1, "kB": 1000, "MB": 1000**2, "GB": 1000**3, "KiB": 1024, "MiB": 1024**2, "GiB": 1024**3}

Size = Annotated[int, Meta(ge=4096)]
Seconds = Annotated[float, Meta(ge=0)]
Count = Annotated[int, Meta(ge=1)]


class Profile(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A named set of limits of one box. Sizes in bytes (or "64MiB"), times in seconds (0: no such limit)."""

    memory: Size = 512 * 1024**2
    processes: Annotated[int, Meta(ge=2)] = 128
    """Processes and threads."""
    cpus: Annotated[float, Meta(gt=0)] = 1.0
    """Cores; held by cgroup limits only."""
    cpu: Seconds = 60.0
    wall: Seconds = 600.0
    idle: Seconds = 300.0
    """Without input or output."""
    output: Size = 8 * 1024**2
    work: Size = 64 * 1024**2
    tmp: Size = 64 * 1024**2
    shm: Size = 16 * 1024**2
    files: Annotated[int, Meta(ge=16, le=65536)] = 1024
    """Open descriptors per process."""
    widget: bool = False
    """The work tree is /tmp/work and nothing but /tmp can be written."""


WIDGET: dict[str, Any] = {
    "memory": 128 * 1024**2,
    "processes": 32,
    "cpus": 0.2,
    "cpu": 10.0,
    "wall": 60.0,
    "tmp": 10 * 1024**2,
    "idle": 60.0,
    "widget": True,
}
SESSION: dict[str, Any] = {
    "memory": 200_000_000,
    "processes": 32,
    "cpus": 0.5,
    "wall": 120.0,
    "idle": 30.0,
    "output": 1_000_000,
    "work": 32 * 1024**2,
}
BUILTIN_PROFILES: dict[str, dict[str, Any]] = {"default": {}, "widget": WIDGET, "session": SESSION}


class Boxes(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Admission: how many boxes live at once, and who waits."""

    max: Count = 64
    queue: Annotated[int, Meta(ge=0)] = 32
    """Runs that may wait for a free box; more are answered `busy`."""
    queue_wait: Seconds = 5.0
    """Seconds after which a waiting run is answered `busy`."""


class Http(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The port and its connections."""

    origins: tuple[str, ...] = ()
    """Origins of pages that may open WebSockets, beside the daemon's own; "*" allows all."""
    hosts: tuple[str, ...] = ()
    """Host names a proxy may ask for on a loopback listener, beside localhost; "*" allows all."""
    connections: Count = 4096
    message_size: Size = 16 * 1024**2
    head_timeout: Seconds = 10.0
    head_size: Annotated[int, Meta(ge=1024, le=1024**2)] = 16384
    send_deadline: Seconds = 20.0
    """A client that does not take what it is sent for so long is dropped."""
    ping_interval: Seconds = 20.0
    pong_deadline: Seconds = 20.0


class Drain(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What SIGTERM does."""

    seconds: Seconds = 30.0
    """How long running sessions may go on."""


class Auth(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Who may run programs."""

    anonymous: Literal["auto", "always", "never"] = "auto"
    """Without a key: auto allows it only when the daemon listens on loopback or a Unix socket."""


class Uids(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Host uids for boxes of a root daemon, one per live box."""

    first: Annotated[int, Meta(ge=1000)] = 200_000
    last: Annotated[int, Meta(ge=1000)] = 265_535


class Config(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """All settings. `state_dir` holds keys and caches; `node` is part of every id."""

    listen: str = "127.0.0.1:8080"
    """HOST:PORT, [IPV6]:PORT or unix:PATH."""
    state_dir: str = ""
    """Empty: /var/lib/runnerd for root, else $XDG_STATE_HOME/runnerd."""
    node: Annotated[str, Meta(pattern=r"^[a-z0-9]{1,16}$")] = "n1"
    bubblewrap: str = ""
    """Empty: `bwrap` on PATH."""
    profiles: dict[str, Profile] = msgspec.field(
        default_factory=lambda: {name: Profile(**fields) for name, fields in BUILTIN_PROFILES.items()}
    )
    boxes: Boxes = Boxes()
    uids: Uids = Uids()
    http: Http = Http()
    drain: Drain = Drain()
    auth: Auth = Auth()

    @property
    def state(self) -> Path:
        return Path(self.state_dir) if self.state_dir else default_state_dir()


def default_state_dir() -> Path:
    """Where keys and caches are kept when nothing else is said."""
    if os.geteuid() == 0:
        return Path("/var/lib/runnerd")
    return Path(os.environ.get("XDG_STATE_HOME") or Path.home() / ".local/state") / "runnerd"


def load(path: Path | None) -> Config:
    """The configuration of a file, or the defaults. Raises ConfigError: file, key, what was found, what is allowed."""
    if path is None:
        return Config()
    try:
        text = path.read_text()
    except OSError as problem:
        raise ConfigError(f"{path}: {problem.strerror} (errno {problem.errno})") from problem
    try:
        data = tomllib.loads(text)
    except tomllib.TOMLDecodeError as problem:
        raise ConfigError(f"{path}: not TOML: {problem}") from problem
    return parse(data, str(path))


def parse(data: dict[str, Any], source: str = "configuration") -> Config:
    """Settings as TOML gives them -> Config. Profiles override the built-in one of their name, or `default`."""
    _refuse_unknown(data, source)
    data = dict(data)
    profiles: Any = data.get("profiles", {})
    if isinstance(profiles, dict):
        tables = cast(dict[str, Any], profiles)
        given = {name: _sizes(fields, f"{source}: profiles.{name}") for name, fields in tables.items()}
        merged: dict[str, Any] = {**BUILTIN_PROFILES}
        for name, fields in given.items():
            merged[name] = {**BUILTIN_PROFILES.get(name, {}), **fields} if isinstance(fields, dict) else fields
        data["profiles"] = merged
    if isinstance(data.get("http"), dict):
        data["http"] = _sizes(data["http"], f"{source}: http")
    try:
        config = msgspec.convert(data, Config)
    except msgspec.ValidationError as problem:
        raise ConfigError(f"{source}: {_located(str(problem))}") from None
    if config.uids.last < config.uids.first:
        raise ConfigError(f"{source}: uids.last is {config.uids.last}, less than uids.first ({config.uids.first})")
    return config


def _sizes(fields: Any, where: str) -> Any:
    """Turn "64MiB" into bytes wherever a size is meant."""
    if not isinstance(fields, dict):
        return fields
    sizes = {"memory", "output", "work", "tmp", "shm", "message_size", "head_size"}
    return {
        key: parse_size(value, f"{where}.{key}") if key in sizes and isinstance(value, str) else value
        for key, value in fields.items()  # type: ignore[misc]
    }


def parse_size(text: str, key: str) -> int:
    """Bytes of "64MiB", "10 MB" or "4096". Raises ConfigError."""
    match = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([A-Za-z]*)\s*", text)
    if match is None or match[2] not in _UNITS:
        raise ConfigError(f'{key} is "{text}": expected bytes, or a number with one of {", ".join(_UNITS)[2:]}')
    return int(float(match[1]) * _UNITS[match[2]])


def _refuse_unknown(data: dict[str, Any], source: str) -> None:
    """msgspec refuses unknown keys as well; this says which one was probably meant."""
    tables: dict[str, type[msgspec.Struct]] = {"boxes": Boxes, "http": Http, "drain": Drain, "auth": Auth, "uids": Uids}
    places: list[tuple[str, Any, type[msgspec.Struct]]] = [("", data, Config)]
    places += [(f"{name}.", data.get(name), table) for name, table in tables.items()]
    profiles = data.get("profiles")
    if isinstance(profiles, dict):
        places += [(f"profiles.{name}.", fields, Profile) for name, fields in profiles.items()]  # type: ignore[misc]
    for prefix, fields, table in places:
        allowed = table.__struct_fields__
        for key in fields if isinstance(fields, dict) else ():  # type: ignore[misc]
            if key not in allowed:
                close = difflib.get_close_matches(str(key), allowed, n=1)  # type: ignore[misc]
                hint = f"did you mean {prefix}{close[0]}?" if close else f"known keys: {', '.join(allowed)}"
                raise ConfigError(f"{source}: unknown key {prefix}{key}", hint=hint)


def _located(message: str) -> str:
    """msgspec's "Expected `int` >= 1 - at `$.boxes.max`" with the key first."""
    match = re.fullmatch(r"(.*) - at `(?:key in )?\$\.?(.*)`", message)
    return f"{match[2] or 'the file'}: {match[1]}" if match else message
