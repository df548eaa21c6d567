"""The files of a space that are open as documents, by path: loaded, saved, and brought together with what else happens
to the files. Its workspace gives it turns, so that nothing else touches the tree meanwhile.
"""

import errno
import logging
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from functools import partial
from importlib import import_module
from typing import TYPE_CHECKING

import trio

from runnerd.errors import BrokenBox, Busy, InitRefused, NotFound, RunnerdError, TooLarge
from runnerd.session.pace import Pace

if TYPE_CHECKING:
    from runnerd.session.document import Document, Editor

log = logging.getLogger("runnerd.session")

DOCUMENTS_MAX = 32
"""Documents of one space. Those that nobody has open any more stay, so that whoever comes back has the same one; when
another is opened, the one left longest ago goes."""

TEXT_MAX = 1024 * 1024
"""Bytes of a file that is opened. It may grow to GROWN_MAX."""

GROWN_MAX = 4 * 1024 * 1024

SHARE = 0.1
"""How much of the daemon's time the documents of one space may take."""

SAVE_AFTER = 0.5
"""Seconds from a change to its saving. What is typed meanwhile is saved along."""

Read = Callable[[str], Awaitable[bytes]]
Write = Callable[[str, bytes], Awaitable[None]]


class NotText(RunnerdError):
    """The file is no text in UTF-8."""

    code, status, close = "not_text", 415, 4415


class Documents:
    """`read` and `write` touch a file. `refused` hears when a text could not be saved; it is, with the next change."""

    def __init__(self, read: Read, write: Write) -> None:
        self._read, self._write = read, write
        self.pace = Pace(SHARE)
        self.refused: Callable[[RunnerdError], None] = lambda problem: None
        self._open: dict[str, Document] = {}
        self._due: set[str] = set()
        self._wanted = trio.Event()
        self._urgent = trio.Event()

    async def run(self, settled: Callable[[], Awaitable[None]]) -> None:
        """Save what changes, by `settled`, which gives the turn for `settle`. Until cancelled."""
        while True:
            await self._wanted.wait()
            with trio.move_on_after(SAVE_AFTER):
                await self._urgent.wait()
            self._wanted, self._urgent = trio.Event(), trio.Event()
            await settled()

    @property
    def edited(self) -> bool:
        """Whether anybody has one open."""
        return any(document.editors for document in self._open.values())

    @asynccontextmanager
    async def editing(self, path: str, most: int) -> "AsyncGenerator[Editor]":
        """Be one of at most `most` who edit a document that `load` brought here."""
        document = self._open.get(path)
        if document is None:
            raise _gone(path)
        editor = document.join(most)
        try:
            yield editor
        finally:
            document.leave(editor)
            if not document.editors and self._open.get(path) is document:
                self._open[path] = self._open.pop(path)  # now the one left last
                self.changed(path)
                self._urgent.set()

    def changed(self, path: str) -> None:
        """Something happened to this file, or to all below this folder ("": the tree): look at what is open, soon."""
        for each in self._open:
            if path in ("", each) or each.startswith(f"{path}/"):
                self._due.add(each)
                self._wanted.set()

    def close(self, reason: RunnerdError) -> None:
        """Close all, unsaved."""
        while self._open:
            _, document = self._open.popitem()
            document.close(reason)

    # --- in the workspace's turn -----------------------------------------------------------------------------------

    async def load(self, path: str) -> None:
        """Open a file, if it is not open. Raises NotFound, NotText, TooLarge, Busy, and what `read` raises."""
        self._due.add(path)
        await self.settle()
        if path in self._open:
            return
        module = await trio.to_thread.run_sync(import_module, "runnerd.session.document")  # takes its time once
        text = _decoded(path, await self._found(path), TEXT_MAX)
        if len(self._open) >= DOCUMENTS_MAX:
            await self._forget_one()
        self._open[path] = module.Document(text, partial(self.changed, path))

    async def settle(self) -> None:
        """Bring those documents and their files together that are due. Raises nothing."""
        due, self._due = self._due, set()
        for path in due:
            document = self._open.get(path)
            if document is None:
                continue
            try:
                await self._settle(path, document)
            except BrokenBox:
                return  # and so the space has ended, which closes all
            except RunnerdError as problem:
                self._drop(path, problem)
            except Exception:
                log.exception("a document failed unexpectedly", extra={"path": path})
                self._drop(path, RunnerdError("something went wrong inside the daemon; its log tells what"))

    async def _settle(self, path: str, document: "Document") -> None:
        if document.closed is not None:  # and saved for the last time
            del self._open[path]
        document.changed(text := _decoded(path, await self._found(path), GROWN_MAX))
        new, update = document.unsaved()
        if new != text:
            try:
                await self._write(path, new.encode())
            except InitRefused as problem:
                self.refused(problem)
                return
        document.saved(update)

    async def _found(self, path: str) -> bytes:
        try:
            return await self._read(path)
        except InitRefused as problem:
            raise _gone(path) if problem.errno in (errno.ENOENT, errno.ENOTDIR) else problem from None

    async def _forget_one(self) -> None:
        for path, document in self._open.items():
            if not document.editors:
                self._due.add(path)
                await self.settle()
                self._drop(path, _gone(path))
                return
        raise Busy(f"{DOCUMENTS_MAX} files of this space are open", retry_after=10, hint="close one first")

    def _drop(self, path: str, reason: RunnerdError) -> None:
        if (document := self._open.pop(path, None)) is not None:
            document.close(reason)


def _decoded(path: str, data: bytes, most: int) -> str:
    if len(data) > most:
        raise TooLarge(f"{path[:80]} is larger than {most} bytes", hint="read shows up to 8 MiB")
    try:
        return data.decode()
    except UnicodeDecodeError:
        raise NotText(f"{path[:80]} is no text in UTF-8", hint="read and write carry any bytes") from None


def _gone(path: str) -> NotFound:
    return NotFound(f"there is no file {path[:80]}", hint="it was renamed or deleted, or must be created first")
