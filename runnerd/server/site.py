"""What the HTTP routes show and do, as values: whoever makes these need not load the routes."""

from collections.abc import Awaitable, Callable, Iterable
from typing import Literal

import msgspec

from runnerd.protocols import Adapter, Start
from runnerd.sandbox.spec import LimitsMode
from runnerd.server.asked import Asked
from runnerd.server.assets import Asset
from runnerd.server.forwarded import Proxies
from runnerd.server.head import Head
from runnerd.server.metrics import Metric
from runnerd.server.origin import Gate
from runnerd.server.outbox import Transport
from runnerd.session.space import Space

Converse = Callable[[Transport, Adapter], Awaitable[None]]
"""Runs a conversation about one program to its end."""


class Language(msgspec.Struct, frozen=True):
    """One toolchain as clients see it; `missing` lists what the host lacks for it."""

    id: str
    name: str
    aliases: tuple[str, ...]
    source: str
    sample: dict[str, str]
    available: bool
    missing: list[dict[str, str]]


class Site(msgspec.Struct, frozen=True):
    """What the routes show and do. The callables are asked at each request.

    `full` raises Busy when no run could start now; `draining` says whether the daemon stops; `converse` gives what
    carries one run over a request, `create_session` makes one of protocol 003 and tells its id, `find_space` gives the
    one that a join key opens, or raises NotFound. `body_size` is the largest body of a request, in bytes,
    `body_timeout` the seconds it may take to arrive (0: any number): but for archives, which have rules of their own.
    """

    gate: Gate
    assets: dict[str, Asset]
    limits: LimitsMode
    languages: Callable[[], list[Language]]
    metrics: Callable[[], Iterable[Metric]]
    full: Callable[[], None]
    draining: Callable[[], bool]
    converse: Callable[[Head, Asked], Converse]
    create_session: Callable[[Head, Asked, Start], Awaitable[str]]
    kill_session: Callable[[str], None]
    find_space: Callable[[str], Space]
    auth: Literal["keys", "open"] = "keys"
    body_size: int = 16 * 1024**2
    body_timeout: float = 60.0
    proxies: Proxies = msgspec.field(default_factory=lambda: Proxies(()))
