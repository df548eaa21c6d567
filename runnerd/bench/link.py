"""A slow link: two network namespaces of our own, and a veth pair between them. Both go when nothing uses them."""

import ctypes
import os
import shutil
import subprocess
from collections.abc import Generator
from contextlib import contextmanager

import msgspec

from runnerd.bench.errors import Missing

CLONE_NEWNET = 0x40000000
SERVER, CLIENT = "10.0.0.1", "10.0.0.2"
"""In namespaces that nothing else is in, any will do."""

_libc = ctypes.CDLL(None, use_errno=True)


class Link(msgspec.Struct, frozen=True):
    """Descriptors of its two ends, for `inside`."""

    server: int
    client: int


@contextmanager
def link(rate: int, queue: int) -> Generator[Link]:
    """What the server sends goes at `rate` bytes per second and waits in `queue` bytes. Raises Missing."""
    for program in ("ip", "tc"):
        if not shutil.which(program):
            raise Missing(f"{program} is not on PATH", hint="apt-get install iproute2")
    home = _namespace()
    try:
        ends = Link(_new_namespace(home), _new_namespace(home))
        try:
            with inside(ends.server):
                _run("ip link add server type veth peer name client")
                _run(f"ip link set client netns /proc/self/fd/{ends.client}", ends.client)
                _run(f"ip address add {SERVER}/30 dev server")
                _run("ip link set lo up")
                _run("ip link set server up")
                _run(f"tc qdisc add dev server root tbf rate {rate * 8}bit burst 4kb limit {queue}")
            with inside(ends.client):
                _run(f"ip address add {CLIENT}/30 dev client")
                _run("ip link set client up")
            yield ends
        finally:
            os.close(ends.server)
            os.close(ends.client)
    finally:
        os.close(home)


@contextmanager
def inside(namespace: int) -> Generator[None]:
    """Sockets and processes that this thread makes meanwhile are in that namespace, and stay there."""
    home = _namespace()
    try:
        _enter(namespace)
        yield
    finally:
        _enter(home)
        os.close(home)


def _namespace() -> int:
    return os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)


def _new_namespace(home: int) -> int:
    if _libc.unshare(CLONE_NEWNET):
        reason = os.strerror(ctypes.get_errno())
        raise Missing(f"no network namespace can be made: {reason}", hint="run it as root")
    made = _namespace()
    _enter(home)
    return made


def _enter(namespace: int) -> None:
    if _libc.setns(namespace, CLONE_NEWNET):
        problem = ctypes.get_errno()
        raise OSError(problem, os.strerror(problem))


def _run(command: str, *descriptors: int) -> None:
    done = subprocess.run(command.split(), pass_fds=descriptors, capture_output=True, text=True)
    if done.returncode:
        raise Missing(f"{command}: {done.stderr.strip()}")
