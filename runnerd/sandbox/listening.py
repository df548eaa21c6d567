"""Which TCP ports a box listens on, read from its own /proc/net: the daemon enters no namespace."""

from runnerd.sandbox import procfs

_READ = 64 * 1024
"""Listening sockets come first: some four hundred lines."""

_LISTEN = b"0A"


def ports(proc: int) -> frozenset[int]:
    """Of IPv4 and IPv6 together; none once the box is gone."""
    return frozenset(
        port for name in ("tcp", "tcp6") for port in parse(procfs.read_whole(proc, f"1/net/{name}", _READ))
    )


def parse(table: bytes) -> frozenset[int]:
    """Lines "N: ADDRESS:PORT ADDRESS:PORT STATE ..." in hexadecimal; a last one that is cut short does not count."""
    found: set[int] = set()
    for line in table.splitlines()[1:]:
        fields = line.split()
        if len(fields) > 4 and fields[3] == _LISTEN:
            _, _, port = fields[1].rpartition(b":")
            found.add(int(port, 16))
    return frozenset(found)
