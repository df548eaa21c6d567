"""What compile steps made, in files of the state folder: bounded in bytes, what was used longest ago goes first.

A file that is not as it was written is as good as missing, and so is a folder that cannot be written.
"""

import hashlib
import logging
import os
import re
import secrets
from contextlib import suppress
from pathlib import Path
from typing import Literal

import msgspec
import trio

log = logging.getLogger("runnerd.session")

ENTRY_MAX = 8 * 1024 * 1024
"""The most bytes of one compile step's products, and of what it wrote, that are kept."""

ROOM = 0.9
"""What is left, as a part of the bound, when entries had to go: they do not go one by one."""

_NAME = re.compile(r"[0-9a-f]{64}")
_DIGEST = hashlib.sha256().digest_size


class Product(msgspec.Struct, frozen=True, array_like=True):
    """A file that a compiler made: its path in the box, permission bits, content."""

    path: str
    mode: int
    data: bytes


class Entry(msgspec.Struct, frozen=True, array_like=True):
    """What one compile step came to: what it wrote, in order, and its files."""

    output: tuple[tuple[Literal["stdout", "stderr"], bytes], ...]
    products: tuple[Product, ...]


class Cache:
    """Entries by key: 64 digits of hexadecimal, unlike for whatever must not be taken for the same. `size` in bytes.

    Daemons may share a folder: each keeps to its own bound whatever it finds there.
    """

    def __init__(self, folder: Path, size: int) -> None:
        self.size = size
        self.hits = self.misses = 0
        self._folder = folder
        self._total: int | None = None
        self._complained = False
        self._writer = trio.CapacityLimiter(1)

    async def find(self, key: str) -> Entry | None:
        entry = await trio.to_thread.run_sync(self._read, key)
        if entry is None:
            self.misses += 1
        else:
            self.hits += 1
        return entry

    async def store(self, key: str, entry: Entry) -> None:
        """Keep it, unless that fails, which is logged once. Two stores of one key: the later stays."""
        try:
            await trio.to_thread.run_sync(self._write, key, entry, limiter=self._writer)
        except OSError as problem:
            if self._complained:
                return
            self._complained = True
            told = {"folder": str(self._folder), "reason": problem.strerror, "errno": problem.errno}
            log.warning("what was compiled could not be kept", extra=told)

    def _read(self, key: str) -> Entry | None:
        path = self._folder / key
        try:
            data = path.read_bytes()
        except OSError:
            return None
        body = data[_DIGEST:]
        try:
            if data[:_DIGEST] != _digest(key, body):
                raise ValueError("it was changed")
            entry = msgspec.msgpack.decode(body, type=Entry)
        except ValueError as problem:  # msgspec's are such
            log.warning("a kept compilation is damaged and was removed", extra={"key": key, "reason": str(problem)})
            with suppress(OSError):
                path.unlink()
            return None
        with suppress(OSError):
            os.utime(path)
        return entry

    def _write(self, key: str, entry: Entry) -> None:
        body = msgspec.msgpack.encode(entry)
        size = _DIGEST + len(body)
        if size > self.size * ROOM:
            return
        self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        aside = self._folder / f".{secrets.token_hex(8)}"
        try:
            aside.write_bytes(_digest(key, body) + body)
            aside.rename(self._folder / key)
        except OSError:
            aside.unlink(missing_ok=True)
            raise
        # What others wrote or removed is seen at the next look at all of it.
        self._total = None if self._total is None else self._total + size
        if self._total is None or self._total > self.size:
            self._total = self._trim()

    def _trim(self) -> int:
        """Remove what was used longest ago, if all is too much, and what a crash left; the bytes that stay."""
        found: list[tuple[int, int, str]] = []
        for file in os.scandir(self._folder):
            with suppress(FileNotFoundError):
                if _NAME.fullmatch(file.name):
                    status = file.stat()
                    found.append((status.st_mtime_ns, status.st_size, file.path))
        total = sum(size for _, size, _ in found)
        if total <= self.size:
            return total
        for _, size, path in sorted(found):
            if total <= self.size * ROOM:
                break
            with suppress(FileNotFoundError):
                os.unlink(path)
            total -= size
        return total


def _digest(key: str, body: bytes) -> bytes:
    """Over the key too, so that a file under another's name is none."""
    return hashlib.sha256(key.encode() + body).digest()
