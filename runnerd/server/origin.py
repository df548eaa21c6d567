"""Which pages and names may reach the daemon: checks of Host and Origin. Pure."""

from collections.abc import Iterable
from urllib.parse import urlsplit

from runnerd.errors import Forbidden
from runnerd.server.head import Head

LOOPBACK_NAMES = frozenset({"localhost", "127.0.0.1", "::1"})
PORTS = {"http": 80, "https": 443, "ws": 80, "wss": 443}

Place = tuple[str, int | None]


class ForeignHost(Forbidden):
    """The Host header names something that this daemon is not."""

    code = "foreign_host"


class ForeignOrigin(Forbidden):
    """A page of another site tried to open a connection."""

    code = "foreign_origin"


class Gate:
    """Refuses what a browser may have been tricked into.

    `origins` are other sites whose pages may connect ("*": all). A listener on loopback (`loopback`) answers only to
    names of loopback and to `hosts` ("*": all): a name of an attacker that resolves to 127.0.0.1 would make the
    attacker's page same-origin with the daemon.
    """

    def __init__(self, origins: Iterable[str] = (), hosts: Iterable[str] = (), *, loopback: bool) -> None:
        origins, hosts = frozenset(origins), frozenset(hosts)
        self._any_origin = "*" in origins
        self._origins = {_origin(each) for each in origins}
        self._names = None
        if loopback and "*" not in hosts:
            self._names = LOOPBACK_NAMES | {_place(f"//{each}", None)[0] for each in hosts}

    def check_host(self, head: Head) -> None:
        """Raise ForeignHost when a loopback listener is addressed by a name that is not known to be its own."""
        if self._names is None:
            return
        host = head.get("host") or ""
        if _place(f"//{host}", None)[0] not in self._names:
            raise ForeignHost(
                f"this daemon does not answer to the name {host!r}",
                hint="add it to http.hosts in the configuration",
            )

    def allows(self, head: Head) -> bool:
        """Whether the page that asks is the daemon's own or allowed. Clients that are no browsers send no Origin."""
        origin = head.get("origin")
        if origin is None or self._any_origin:
            return True
        scheme, place = _origin(origin)
        # The proxy in front may have ended TLS, so the scheme is the page's word.
        same = place[0] != "" and place == _place(f"//{head.get('host') or ''}", PORTS.get(scheme))
        return same or (scheme, place) in self._origins

    def check_origin(self, head: Head) -> None:
        """Raise ForeignOrigin unless `allows`."""
        if not self.allows(head):
            raise ForeignOrigin(
                f"pages of {head.get('origin')!r} may not connect",
                hint="add the site to http.origins in the configuration",
            )


def _origin(text: str) -> tuple[str, Place]:
    scheme = text.partition(":")[0].lower()
    return scheme, _place(text, PORTS.get(scheme))


def _place(url: str, default_port: int | None) -> Place:
    try:
        parts = urlsplit(url)
        return (parts.hostname or "").rstrip("."), parts.port or default_port
    except ValueError:
        return "", None
