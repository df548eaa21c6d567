"""How much memory a box's sockets hold, and on which ports they listen, asked of the kernel over a NETLINK_SOCK_DIAG
socket of its namespace."""

import os
import re
import socket
import struct

import trio

from runnerd.sandbox import procfs

_DUMP = 0x301  # NLM_F_REQUEST | NLM_F_DUMP
_BY_FAMILY = 20  # SOCK_DIAG_BY_FAMILY
_DONE, _ERROR = 3, 2
_SHOW_MEMINFO = 0x20  # UDIAG_SHOW_MEMINFO
_UNIX_MEMINFO, _INET_MEMINFO = 5, 7  # UNIX_DIAG_MEMINFO, INET_DIAG_SKMEMINFO
_HEADER = struct.Struct("=IHHII")
_ATTRIBUTE = struct.Struct("=HH")
_MEMINFO = struct.Struct("=8I")
_UNIX_FIXED, _INET_FIXED = 16, 72  # bytes of struct unix_diag_msg and struct inet_diag_msg
_WITHOUT_SOCKET = (3, 6, 12)  # TCP_SYN_RECV, TCP_TIME_WAIT, TCP_NEW_SYN_RECV: listed, and not among the sockets in use
_READ = 32 * 1024
_OURS = 1
"""The NETLINK_SOCK_DIAG socket itself is one of the namespace's."""
_SOCKET = 3 * 1024
"""A socket's own structures, with its inode."""
_USED = re.compile(rb"sockets: used (\d+)")


_ALL, _LISTEN = 0xFFFFFFFF, 1 << 10


def _request(family: int, protocol: int, states: int = _ALL) -> bytes:
    if family == socket.AF_UNIX:
        body = struct.pack("=BBHIIIII", family, 0, 0, 0xFFFFFFFF, 0, _SHOW_MEMINFO, 0, 0)
    else:
        body = struct.pack("=BBBBI48x", family, protocol, 1 << (_INET_MEMINFO - 1), 0, states)
    return _HEADER.pack(_HEADER.size + len(body), _BY_FAMILY, _DUMP, 1, 0) + body


_REQUESTS = [(_request(socket.AF_UNIX, 0), _UNIX_FIXED, _UNIX_MEMINFO)] + [
    (_request(family, protocol), _INET_FIXED, _INET_MEMINFO)
    for family in (socket.AF_INET, socket.AF_INET6)
    for protocol in (socket.IPPROTO_TCP, socket.IPPROTO_UDP)
]

_LISTENING = [_request(family, socket.IPPROTO_TCP, _LISTEN) for family in (socket.AF_INET, socket.AF_INET6)]


def largest_queue() -> int:
    """The most bytes that one socket of no listed kind may have queued: twice net.core.wmem_max and rmem_max."""
    most = 0
    for name in ("wmem_max", "rmem_max"):
        try:
            with open(f"/proc/sys/net/core/{name}") as file:
                most = max(most, int(file.read()))
        except OSError:
            most = max(most, 212992)
    return 2 * most


def in_use(proc: int) -> int:
    """How many sockets the box's namespace has, wherever they are: some may wait in another's queue to be received."""
    found = _USED.match(procfs.read(proc, "1/net/sockstat") or b"")
    return int(found[1]) - _OURS if found else 0


async def memory(proc: int, diag: int, most: int) -> int:
    """Bytes that all sockets of the namespace hold in their queues. Never raises for what the kernel cannot say.

    A socket that no dump lists (its kind has no diagnostics here; it is closed and its data wait in a receiver's
    queue) is taken to be full: `most` bytes, see `largest_queue`. A checkpoint at least every 32 KiB of answers.
    """
    used = in_use(proc)
    if used <= 0:
        return 0
    total = listed = 0
    with socket.socket(fileno=os.dup(diag)) as sock:
        sock.setblocking(False)
        for request, fixed, wanted in _REQUESTS:
            held, count = await _dump(sock, request, fixed, wanted)
            total += held
            listed += count
    return total + used * _SOCKET + max(0, used - listed) * most


def listening(diag: int) -> frozenset[int] | None:
    """The TCP ports that anything listens on; None when it cannot be said now, since `memory` is at it."""
    found: set[int] = set()
    try:
        with socket.socket(fileno=os.dup(diag)) as sock:
            sock.setblocking(False)
            if _has_answers(sock):
                return None
            for request in _LISTENING:
                sock.send(request)  # EBUSY while another dump goes on
                done = False
                while not done:
                    ports, done = parse_ports(sock.recv(_READ))
                    found |= ports
    except OSError:
        return None
    return frozenset(found)


def _has_answers(sock: socket.socket) -> bool:
    try:
        sock.recv(1, socket.MSG_PEEK)
    except BlockingIOError:
        return False
    return True


def parse_ports(data: bytes) -> tuple[set[int], bool]:
    """One datagram of a dump of TCP sockets: their local ports, and whether the dump ends here."""
    found: set[int] = set()
    at = 0
    while at + _HEADER.size <= len(data):
        length, kind, *_ = _HEADER.unpack_from(data, at)
        if kind in (_DONE, _ERROR) or length < _HEADER.size:
            return found, True
        port = data[at + _HEADER.size + 4 : at + _HEADER.size + 6]  # idiag_sport, after family, state, timer, retrans
        if len(port) == 2:
            found.add(int.from_bytes(port, "big"))
        at += (length + 3) & ~3
    return found, not data


async def _dump(sock: socket.socket, request: bytes, fixed: int, wanted: int) -> tuple[int, int]:
    total = listed = 0
    try:
        sock.send(request)
        while True:
            held, count, done = parse(sock.recv(_READ), fixed, wanted)
            total += held
            listed += count
            if done:
                break
            await trio.lowlevel.checkpoint()
    except OSError:  # a kernel without this family's diagnostics, or a namespace that is gone
        pass
    return total, listed


def parse(data: bytes, fixed: int, wanted: int) -> tuple[int, int, bool]:
    """One datagram of a dump: bytes that its sockets hold, how many sockets these are, and whether the dump ends here.

    `fixed` is the size of the family's message, `wanted` the number of its meminfo attribute.
    """
    total = count = at = 0
    while at + _HEADER.size <= len(data):
        length, kind, *_ = _HEADER.unpack_from(data, at)
        if kind in (_DONE, _ERROR) or length < _HEADER.size:
            return total, count, True
        start = at + _HEADER.size
        if fixed == _UNIX_FIXED or (len(data) > start + 1 and data[start + 1] not in _WITHOUT_SOCKET):
            count += 1
        total += _held(data, start + fixed, min(at + length, len(data)), wanted)
        at += (length + 3) & ~3
    return total, count, not data


def _held(data: bytes, at: int, end: int, wanted: int) -> int:
    """rmem_alloc, the larger of wmem_alloc and wmem_queued, optmem and backlog (linux/sock_diag.h)."""
    while at + 4 <= end:
        length, kind = _ATTRIBUTE.unpack_from(data, at)
        if length < 4:
            break
        if kind == wanted and at + 4 + _MEMINFO.size <= end:
            rmem, _, wmem, _, _, queued, optmem, backlog = _MEMINFO.unpack_from(data, at + 4)
            return rmem + max(wmem, queued) + optmem + backlog
        at += (length + 3) & ~3
    return 0
