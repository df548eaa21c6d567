"""Where the daemon listens: HOST:PORT or unix:PATH, as values and as listening sockets."""

import errno
import ipaddress
import os
import socket
import stat
from pathlib import Path

import msgspec

from runnerd.errors import ConfigError, SetupError

BACKLOG = 1024
SOCKET_MODE = 0o660
"""Of a Unix socket: its owner and group may connect, for example a reverse proxy that is in the daemon's group."""

ABSENT = {errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT, errno.EPROTONOSUPPORT}
"""A name such as localhost may resolve to an address family that this host does not have."""


class TcpAddress(msgspec.Struct, frozen=True):
    host: str
    port: int

    @property
    def loopback(self) -> bool:
        """Nobody outside this machine can connect."""
        if self.host == "localhost":
            return True
        try:
            return ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return False

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


class UnixAddress(msgspec.Struct, frozen=True):
    path: Path

    @property
    def loopback(self) -> bool:
        return True

    def __str__(self) -> str:
        return f"unix:{self.path}"


Address = TcpAddress | UnixAddress


def parse(text: str) -> Address:
    """`HOST:PORT`, `[IPV6]:PORT` or `unix:PATH`. Raises ConfigError."""
    if text.startswith("unix:"):
        if path := text.removeprefix("unix:"):
            return UnixAddress(Path(path).absolute())
    else:
        host, _, port = text.rpartition(":")
        bare = host[1:-1] if host.startswith("[") and host.endswith("]") else host
        number = int(port) if port.isascii() and port.isdigit() else -1
        if bare and 0 <= number < 65536 and (":" in bare) == (bare != host):
            return TcpAddress(bare, number)
    raise ConfigError(
        f"{text!r} is not an address to listen on",
        hint="give HOST:PORT, [IPV6]:PORT or unix:PATH, for example 127.0.0.1:8080",
    )


def listen(address: Address, mode: int = SOCKET_MODE) -> list[socket.socket]:
    """Bound and listening sockets, one per address that a host name has. Raises SetupError.

    `mode` is a Unix socket's.
    """
    if isinstance(address, UnixAddress):
        return [_listen_unix(address, mode)]
    try:
        found = socket.getaddrinfo(address.host, address.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except OSError as problem:
        raise SetupError(f"the name {address.host} cannot be resolved: {problem.strerror}") from problem
    sockets: list[socket.socket] = []
    trouble: OSError | None = None
    try:
        for family, kind, protocol, _, where in dict.fromkeys(found):
            try:
                sockets.append(_bind_tcp(family, kind, protocol, where))
            except OSError as problem:
                if problem.errno not in ABSENT:
                    raise
                trouble = problem
        if trouble is not None and not sockets:
            raise trouble
    except OSError as problem:
        close(address, sockets)
        raise _cannot_listen(address, problem) from problem
    return sockets


def close(address: Address, sockets: list[socket.socket]) -> None:
    """Stop listening; a Unix socket's path goes."""
    if isinstance(address, UnixAddress) and sockets:
        address.path.unlink(missing_ok=True)
    for each in sockets:
        each.close()


def bound(address: Address, sockets: list[socket.socket]) -> Address:
    """The address with the port that the kernel chose for port 0."""
    if isinstance(address, UnixAddress):
        return address
    return TcpAddress(address.host, sockets[0].getsockname()[1])


def _bind_tcp(family: int, kind: int, protocol: int, where: object) -> socket.socket:
    new = socket.socket(family, kind, protocol)
    try:
        new.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            new.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        new.bind(where)  # pyright: ignore[reportArgumentType]
        new.listen(BACKLOG)
    except BaseException:
        new.close()
        raise
    return new


def _listen_unix(address: UnixAddress, mode: int) -> socket.socket:
    path = address.path
    new = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        _remove_stale(path)
        before = os.umask(0o777 & ~mode)
        try:
            new.bind(str(path))
        finally:
            os.umask(before)
        new.listen(BACKLOG)
    except OSError as problem:
        new.close()
        raise _cannot_listen(address, problem) from problem
    return new


def _remove_stale(path: Path) -> None:
    """Remove a socket that a dead daemon left. One that answers is in use."""
    try:
        if not stat.S_ISSOCK(path.lstat().st_mode):
            raise OSError(errno.EEXIST, "a file that is not a socket is there")
    except FileNotFoundError:
        return
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.setblocking(False)
        try:
            probe.connect(str(path))
        except ConnectionRefusedError:
            path.unlink(missing_ok=True)
            return
        except BlockingIOError:
            pass  # its backlog is full: somebody listens
    raise OSError(errno.EADDRINUSE, os.strerror(errno.EADDRINUSE))


def _cannot_listen(address: Address, problem: OSError) -> SetupError:
    hints = {
        errno.EADDRINUSE: "another process listens there: stop it, or choose another with --listen",
        errno.EACCES: "ports below 1024 and folders of others need rights: choose another with --listen",
        errno.EADDRNOTAVAIL: "this host has no such address: see `ip address`",
    }
    return SetupError(
        f"listening on {address}: {problem.strerror or problem} (errno {problem.errno})",
        hint=hints.get(problem.errno or 0, ""),
    )
