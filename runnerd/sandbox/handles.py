"""Descriptors through which the daemon looks into a box without entering it."""

import os

import msgspec


class Handles(msgspec.Struct, frozen=True):
    """O_PATH descriptors of the box's /proc, work tree, /tmp and /dev/shm, a NETLINK_SOCK_DIAG socket of its network
    namespace, and init's pid on the host. Init passed them out before any program ran."""

    proc: int
    work: int
    tmp: int
    shm: int
    diag: int
    init: int

    def close(self) -> None:
        for fd in (self.proc, self.work, self.tmp, self.shm, self.diag):
            os.close(fd)
