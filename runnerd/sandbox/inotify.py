"""News of folders from the kernel (man 7 inotify): one instance, which the daemon has for all boxes."""

import fcntl
import os
import struct
import termios
from collections.abc import Iterator

import msgspec

from runnerd.sandbox._native import ffi, lib

MODIFY, CLOSE_WRITE, MOVED_FROM, MOVED_TO, CREATE, DELETE = 0x2, 0x8, 0x40, 0x80, 0x100, 0x200
OVERFLOW, IGNORED, ISDIR = 0x4000, 0x8000, 0x4000_0000
_ONLYDIR, _EXCL_UNLINK = 0x0100_0000, 0x0400_0000
_MASK = MODIFY | CLOSE_WRITE | MOVED_FROM | MOVED_TO | CREATE | DELETE | _ONLYDIR | _EXCL_UNLINK
_HEADER = struct.Struct("=iIII")
_READ = 64 * 1024


class Event(msgspec.Struct, frozen=True):
    """`watch` is the folder's, -1 with OVERFLOW; `cookie` joins both halves of a rename; `name` is an entry's."""

    watch: int
    mask: int
    cookie: int
    name: str


class Inotify:
    """Watches folders by descriptors, never by a path of theirs. Raises OSError when no instance can be had."""

    def __init__(self) -> None:
        self.fd = _checked(lib.inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC))

    def watch(self, folder: int) -> int:
        """The number of a folder's watch, the same each time for the same folder. `folder` need not stay open. Raises
        OSError: ENOSPC when this user has as many watches as it may have, ENOTDIR."""
        return _checked(lib.inotify_add_watch(self.fd, b"/proc/self/fd/%d" % folder, _MASK))

    def forget(self, watch: int) -> None:
        """No error when the kernel has forgotten it before."""
        lib.inotify_rm_watch(self.fd, watch)

    def read(self) -> Iterator[Event]:
        """What has happened up to now, and not what happens meanwhile: that could be without end."""
        waiting = struct.unpack("=i", fcntl.ioctl(self.fd, termios.FIONREAD, b"\0\0\0\0"))[0]
        while waiting > 0:
            data = os.read(self.fd, _READ)
            waiting -= len(data)
            yield from parse(data)

    def close(self) -> None:
        os.close(self.fd)


def parse(data: bytes) -> Iterator[Event]:
    """The events of one read."""
    at = 0
    while at + _HEADER.size <= len(data):
        watch, mask, cookie, length = _HEADER.unpack_from(data, at)
        at += _HEADER.size
        yield Event(watch, mask, cookie, os.fsdecode(data[at : at + length].rstrip(b"\0")))
        at += length


def _checked(result: int) -> int:
    if result < 0:
        raise OSError(ffi.errno, os.strerror(ffi.errno))
    return result
