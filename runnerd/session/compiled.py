"""Spares a run its compile step, where the very same was compiled before in a box of the same owner."""

import hashlib
import os
import stat
from collections.abc import Awaitable, Callable, Iterable, Mapping
from functools import partial
from glob import glob
from itertools import islice

import msgspec
import trio

from runnerd.errors import InitRefused
from runnerd.sandbox.box import Box
from runnerd.sandbox.spec import Launch
from runnerd.sandbox.stamps import stamps
from runnerd.session.cache import ENTRY_MAX, Cache, Entry, Product
from runnerd.session.output import OutputChannel, OutputLog
from runnerd.toolchains import Compiled, Toolchain, on_host

OUTPUT_MAX = 256 * 1024
"""Bytes that a compile step may have written to be kept."""

PRODUCTS_MAX, DEPTH = 1024, 16
"""How many files and folders it may have made, and how deep below each other."""

TAKE_SECONDS = 5.0
"""After which a program does not wait any more for what it was compiled to."""

BLOCK = 1024 * 1024

PACKAGES = ("/var/lib/dpkg/status", "/var/lib/rpm/rpmdb.sqlite", "/lib/apk/db/installed", "/var/lib/pacman/local")
"""What package managers change with everything that they install: headers, libraries, compilers."""

Later = Callable[[Callable[[], Awaitable[None]]], None]

_TMP = "/tmp/"


def key(owner: str, made_by: object, launch: Launch, files: Mapping[str, bytes]) -> str:
    """Of all that decides what compiling comes to, and of who it is kept for; 64 digits of hexadecimal.

    `made_by` tells the toolchain and how it is now, in values that msgspec can encode. Encoded, each thing has its
    length before it, so what differs anywhere differs as a whole. The window's size counts where there is one to see.
    """
    window = None if launch.mode == "pipes" else (launch.window.rows, launch.window.cols)
    argv = [_exact(word) for word in launch.argv]
    env = [(_exact(name), _exact(value)) for name, value in launch.env.items()]
    named = [(_exact(path), data) for path, data in files.items()]  # in order: "a" and "./a" are one file, the later
    all_of_it = ("runnerd compiled 1", owner, made_by, argv, env, launch.mode, launch.cwd, window, named)
    return hashlib.sha256(msgspec.msgpack.encode(all_of_it)).hexdigest()


def made_by(toolchain: Toolchain, compiled: Compiled, binds: Iterable[tuple[str, str]]) -> object:
    """How a toolchain stands on this host at the moment, for `key`."""
    watched = [path for pattern in compiled.watches for path in sorted(glob(pattern)) or [pattern]]
    programs = [os.path.realpath(on_host(need.program, toolchain.binds)) for need in toolchain.needs]
    return toolchain.id, compiled, list(binds), sorted(stamps([*programs, *watched, *PACKAGES]).items())


def is_volatile(compiled: Compiled, files: Mapping[str, bytes]) -> bool:
    """Whether what these files come to depends on more than themselves, such as the date."""
    words = [word.encode() for word in compiled.volatile]
    return any(word in data for data in files.values() for word in words)


class Spared:
    """One run's compile step in the cache; `paths` are its products. `later` starts a task that may outlive the run."""

    def __init__(self, cache: Cache, key: str, paths: tuple[str, ...], later: Later) -> None:
        self._cache, self._key, self._paths, self._later = cache, key, paths, later

    async def spare(self, box: Box) -> Entry | None:
        """Put what is kept into the box, in which nothing runs yet. None: there is nothing, or no room for it, and the
        step must be run. Raises BrokenBox."""
        entry = await self._cache.find(self._key)
        try:
            for product in entry.products if entry is not None else ():
                await box.write(product.path.removeprefix(_TMP), product.data, product.mode, "tmp")
        except InitRefused:
            return None
        return entry

    async def fill(self, box: Box, log: OutputLog) -> None:
        """Keep what the compile step, and nothing else yet, has made in this box and written to this log.

        It is read before the program starts, which could change it. What is too large or strange is not kept.
        """
        output = _written(log)
        if output is None:
            return
        with trio.move_on_after(TAKE_SECONDS):
            products = await take(box, self._paths)
            if products is not None:
                self._later(partial(self._cache.store, self._key, Entry(output, products)))


async def take(box: Box, paths: Iterable[str]) -> tuple[Product, ...] | None:
    """The files at these paths and below, as they are in the box; None when one is missing, no file, or all too much.

    Raises BrokenBox.
    """
    taking = _Taking(box)
    try:
        for path in paths:
            await taking.take(path, DEPTH)
    except (InitRefused, _Strange):
        return None
    return tuple(taking.products)


class _Strange(Exception):
    pass


class _Taking:
    def __init__(self, box: Box) -> None:
        self.products: list[Product] = []
        self._box, self._names, self._room = box, PRODUCTS_MAX, ENTRY_MAX

    async def take(self, path: str, depth: int) -> None:
        self._names -= 1
        if self._names < 0 or depth < 0 or not _is_text(path):
            raise _Strange
        names: list[str] = []
        fd = await self._box.open(path.removeprefix(_TMP), "tmp")
        try:
            mode = os.fstat(fd).st_mode
            if stat.S_ISREG(mode):
                self.products.append(Product(path, stat.S_IMODE(mode) & 0o777, await self._read(fd)))
            else:
                with os.scandir(fd) as entries:
                    names += sorted(entry.name for entry in islice(entries, PRODUCTS_MAX + 1))
        finally:
            os.close(fd)
        for name in names:
            await self.take(f"{path}/{name}", depth - 1)

    async def _read(self, fd: int) -> bytes:
        """The whole file, never more than there is room for, however it grows meanwhile."""
        data = bytearray()
        while block := os.pread(fd, BLOCK, len(data)):
            data += block
            self._room -= len(block)
            if self._room < 0:
                raise _Strange
            await trio.lowlevel.checkpoint()
        return bytes(data)


def _is_text(path: str) -> bool:
    try:
        return bool(path.encode())
    except UnicodeEncodeError:
        return False


def _exact(text: str) -> bytes:
    """Names of files need not be UTF-8, and come with surrogates then."""
    return text.encode("utf-8", "surrogatepass")


def _written(log: OutputLog) -> tuple[tuple[OutputChannel, bytes], ...] | None:
    """All of a log; None when it is too much, or holds back the beginning of a character."""
    if log.start or log.end > OUTPUT_MAX or log.size != log.end:
        return None
    chunks: list[tuple[OutputChannel, bytes]] = []
    offset = 0
    while (chunk := log.read(offset, OUTPUT_MAX)) is not None:
        chunks.append((chunk.channel, chunk.data))
        offset = chunk.offset + len(chunk.data)
    return tuple(chunks)
