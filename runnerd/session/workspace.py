"""A space's files: touched by init alone, in the box and with its rights. Paths are relative to the work tree."""

import errno
import os
import stat
from collections.abc import Callable, Mapping, Sequence
from itertools import islice

import msgspec
import trio

from runnerd.errors import BadRequest, BoxError, InitRefused, RunnerdError, TooLarge
from runnerd.sandbox.box import Box
from runnerd.sandbox.wire import Entry
from runnerd.session.changes import Mine
from runnerd.session.documents import Documents

READ_MAX = 8 * 1024 * 1024
"""Bytes of a file that one message can carry."""

LIST_MAX = 10_000
"""Names of a folder that one message can carry."""

AT_ONCE = 64
"""Requests of one project that are under way together: a large file holds a descriptor meanwhile."""

WAITING_MAX = 16 * 1024 * 1024
"""Bytes of texts that may wait to be written before their writers wait as well."""

WEIGHT = 1024
"""What a text that waits counts beside its bytes."""

Told = Callable[[RunnerdError | None], None]
"""Hears what became of a text: None when it was written."""


class _Text(msgspec.Struct, frozen=True):
    data: bytes
    told: Told


class Workspace:
    """The tree of `box`. What members ask is done one by one, in the order they asked. `run` is its task.

    `mine` knows what is being done here, for who sees the tree change.

    A `write` waits for nothing: of a burst for one path only the last text is written, and always before whatever is
    asked after it; so is what was typed into `documents`. The others raise InitRefused with the box's errno, BrokenBox,
    and what they name.
    """

    def __init__(self, box: Box) -> None:
        self._box = box
        self.mine = Mine()
        self._turn = trio.StrictFIFOLock()
        self._texts: dict[str, _Text] = {}
        self._waiting = 0
        self._written_to = trio.Event()
        self.documents = Documents(self._whole, box.write)

    async def run(self) -> None:
        """Write what waits, until cancelled or the box has ended."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self.documents.run, self.settled)
            await self._run()
            nursery.cancel_scope.cancel()

    async def _run(self) -> None:
        while not self._box.ended.is_set():
            await self._written_to.wait()
            self._written_to = trio.Event()
            await self.settled()

    def write(self, path: str, data: bytes, told: Told) -> None:
        """Put a whole file in place of what is there; parents are made. A text that a later one replaces before it was
        written is not told of."""
        if (replaced := self._texts.pop(path, None)) is not None:
            self._waiting -= len(replaced.data) + WEIGHT
        self._texts[path] = _Text(data, told)
        self._waiting += len(data) + WEIGHT
        self._written_to.set()

    async def room(self) -> None:
        """Wait while too much waits to be written."""
        if self._waiting > WAITING_MAX:
            await self.settled()

    async def settled(self) -> None:
        """Wait until all that was asked up to now is done."""
        async with self._turn:
            await self._write_texts()

    async def project(self, folders: Sequence[str], files: Mapping[str, bytes]) -> None:
        """Make folders, parents first, and write files over what is there; all else stays. What was made before an
        error stays, too."""
        async with self._turn:
            await self._write_texts()
            with self.mine.made(*folders, *files):
                for path in folders:
                    await self._box.mkdir(path)
                waiting = iter(files.items())
                while batch := dict(islice(waiting, AT_ONCE)):
                    await self._box.write_all(batch)
            await self._changed(*files)

    async def create(self, path: str, *, folder: bool) -> None:
        """An empty file or folder; parents are made. Raises BadRequest (`exists`)."""
        async with self._turn:
            await self._write_texts()
            await self._refuse_existing(path)
            with self.mine.made(path):
                if folder:
                    await self._box.mkdir(path)
                else:
                    await self._box.write(path, b"")

    async def rename(self, path: str, name: str) -> str:
        """Give something another name in its folder, and tell its path then. Raises BadRequest (`exists`)."""
        to = "/".join((*path.split("/")[:-1], name))
        async with self._turn:
            await self._write_texts()
            if to != path:
                await self._refuse_existing(to)
                with self.mine.renamed(path, to):
                    await self._box.rename(path, to)
                await self._changed(path, to)
        return to

    async def delete(self, path: str) -> None:
        """Delete a file, or a folder with all in it; symlinks are deleted and not followed."""
        async with self._turn:
            await self._write_texts()
            with self.mine.deleted(path):
                await self._box.delete(path)
            await self._changed(path)

    async def read(self, path: str) -> bytes:
        """A regular file. Raises BadRequest for a folder, TooLarge."""
        async with self._turn:
            await self._write_texts()
            return await self._whole(path)

    async def edit(self, path: str) -> None:
        """Have a text file among `documents`. Raises as Documents.load."""
        async with self._turn:
            await self._write_texts()
            await self.documents.load(path)

    async def list(self, path: str) -> tuple[Sequence[Entry], bool]:
        """What is in a folder ("": the tree), by name; and whether there is more than LIST_MAX."""
        async with self._turn:
            await self._write_texts()
            entries = await self._box.list(path or ".")
        return sorted(entries, key=lambda entry: entry.name)[:LIST_MAX], len(entries) > LIST_MAX

    async def _write_texts(self) -> None:
        """Of all members, whoever's task it is: so it is not cancelled with that. Raises nothing."""
        texts, self._texts, self._waiting = self._texts, {}, 0
        with trio.CancelScope(shield=True):
            for path, text in texts.items():
                try:
                    with self.mine.made(path):
                        await self._box.write(path, text.data)
                except BoxError as problem:
                    text.told(problem)
                else:
                    text.told(None)
            await self._changed(*texts)

    async def _changed(self, *paths: str) -> None:
        """Bring documents together with what happened to their files. Raises nothing."""
        for path in paths:
            self.documents.changed(path)
        with trio.CancelScope(shield=True):
            await self.documents.settle()

    async def _whole(self, path: str) -> bytes:
        fd = await self._box.open(path)
        parts: list[bytes] = []
        left = READ_MAX + 1
        try:
            if stat.S_ISDIR(os.fstat(fd).st_mode):
                raise BadRequest(f"{path[:80]} is a folder", hint="list shows what is in it")
            while left and (part := os.read(fd, left)):
                parts.append(part)
                left -= len(part)
        finally:
            os.close(fd)
        if not left:
            raise TooLarge(f"{path[:80]} is larger than {READ_MAX} bytes", hint="a program can show parts of it")
        return b"".join(parts)

    async def _refuse_existing(self, path: str) -> None:
        """What programs do at the same moment can still be written over."""
        try:
            os.close(await self._box.open(path))
        except InitRefused as problem:
            if problem.errno == errno.ENOENT:
                return
            if problem.errno not in (errno.ENXIO, errno.ELOOP, errno.EACCES):
                raise
        raise BadRequest(f"{path[:80]} exists already", hint="delete it first, or choose another name", code="exists")
