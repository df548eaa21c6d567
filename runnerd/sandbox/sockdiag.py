"""How much memory a box's sockets hold, asked of the kernel over a NETLINK_SOCK_DIAG socket of its namespace."""

import os
import socket
import struct

_DUMP = 0x301  # NLM_F_REQUEST | NLM_F_DUMP
_BY_FAMILY = 20  # SOCK_DIAG_BY_FAMILY
_DONE, _ERROR = 3, 2
_SHOW_MEMINFO = 0x20  # UDIAG_SHOW_MEMINFO
_UNIX_MEMINFO, _INET_MEMINFO = 5, 7  # UNIX_DIAG_MEMINFO, INET_DIAG_SKMEMINFO
_HEADER = struct.Struct("=IHHII")
_UNIX_FIXED, _INET_FIXED = 16, 72  # bytes of struct unix_diag_msg and struct inet_diag_msg
_READS_MAX = 2000


def memory(diag: int) -> int:
    """Bytes that all sockets of the namespace hold in their queues. Zero where the kernel cannot say.

    `diag` stays the caller's.
    """
    with socket.socket(fileno=os.dup(diag)) as sock:
        sock.setblocking(False)
        total = _dump(sock, struct.pack("=BBHIIIII", socket.AF_UNIX, 0, 0, 0xFFFFFFFF, 0, _SHOW_MEMINFO, 0, 0))
        for family in (socket.AF_INET, socket.AF_INET6):
            for protocol in (socket.IPPROTO_TCP, socket.IPPROTO_UDP):
                request = struct.pack("=BBBBI48x", family, protocol, 1 << (_INET_MEMINFO - 1), 0, 0xFFFFFFFF)
                total += _dump(sock, request)
    return total


def _dump(sock: socket.socket, request: bytes) -> int:
    fixed, wanted = (_UNIX_FIXED, _UNIX_MEMINFO) if request[0] == socket.AF_UNIX else (_INET_FIXED, _INET_MEMINFO)
    total = 0
    try:
        sock.send(_HEADER.pack(_HEADER.size + len(request), _BY_FAMILY, _DUMP, 1, 0) + request)
        for _ in range(_READS_MAX):
            data = sock.recv(65536)
            held, done = parse(data, fixed, wanted)
            total += held
            if done:
                break
    except OSError:  # nothing (more) to read, or a kernel without this family's diagnostics
        pass
    return total


def parse(data: bytes, fixed: int, wanted: int) -> tuple[int, bool]:
    """Bytes held by the sockets that one datagram of a dump tells, and whether the dump ends with it."""
    total, at = 0, 0
    while at + _HEADER.size <= len(data):
        length, kind, *_ = _HEADER.unpack_from(data, at)
        if kind in (_DONE, _ERROR) or length < _HEADER.size:
            return total, True
        total += _held(data[at + _HEADER.size + fixed : at + length], wanted)
        at += (length + 3) & ~3
    return total, False


def _held(attributes: bytes, wanted: int) -> int:
    """rmem_alloc + the larger of wmem_alloc and wmem_queued + backlog (fields 0, 2, 5 and 7 of the meminfo array, linux/sock_diag.h)."""
    at = 0
    while at + 4 <= len(attributes):
        length, kind = struct.unpack_from("=HH", attributes, at)
        if length < 4:
            return 0
        if kind == wanted:
            values = struct.unpack_from(f"={(length - 4) // 4}I", attributes, at + 4)
            return values[0] + max(values[2], values[5]) + (values[7] if len(values) > 7 else 0)
        at += (length + 3) & ~3
    return 0
