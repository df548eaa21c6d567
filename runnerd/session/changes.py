"""Which changes of a tree are news to a space's members: those that none of them has made. Pure."""

from collections.abc import Generator, Sequence
from contextlib import contextmanager
from typing import Literal

import msgspec

Kind = Literal["create", "write", "rename", "delete"]

ASIDE = ".runnerd~"
"""In names of what is not there to stay: files that are written aside, folders that are being deleted."""

BATCH_MAX = 1000
"""Paths that one batch tells of. Whoever hears of more had better list the tree."""


class Told(msgspec.Struct, frozen=True):
    """A change; `to` is a renamed thing's path now."""

    change: Kind
    path: str
    to: str | None = None


class _Mine(msgspec.Struct):
    """What a member makes of a path: it is there afterwards, or gone with all below it."""

    there: bool
    done: bool = False


class Mine:
    """What members do to the tree by the protocol, of which others hear from who did it."""

    def __init__(self) -> None:
        self._paths: dict[str, _Mine] = {}
        self._renamed: dict[tuple[str, str], bool] = {}
        self._filled: dict[str, bool] = {}
        """By path: whether that is done."""

    @contextmanager
    def made(self, *paths: str) -> Generator[None]:
        """While files and folders are made or written, with folders on the way to them."""
        entries = {path: _Mine(there=True) for path in paths}
        for path in paths:
            entries |= {folder: _Mine(there=True) for folder in _above(path) if folder not in entries}
        with self._under_way(entries):
            yield

    @contextmanager
    def deleted(self, path: str) -> Generator[None]:
        with self._under_way({path: _Mine(there=False)}):
            yield

    @contextmanager
    def renamed(self, path: str, to: str) -> Generator[None]:
        self._renamed[path, to] = False
        below = f"{path}/"
        self._paths |= {to + each[len(path) :]: mine for each, mine in self._paths.items() if each.startswith(below)}
        try:
            with self._under_way({path: _Mine(there=False), to: _Mine(there=True)}):
                yield
        finally:
            self._renamed[path, to] = True

    @contextmanager
    def filled(self, path: str) -> Generator[None]:
        """While an archive is unpacked into a folder ("": the tree)."""
        self._filled[path] = False
        try:
            with self.made(*([path] if path else [])):
                yield
        finally:
            self._filled[path] = True

    @contextmanager
    def _under_way(self, entries: dict[str, _Mine]) -> Generator[None]:
        self._paths.update(entries)
        try:
            yield
        finally:
            for entry in entries.values():
                entry.done = True

    def explains(self, told: Told) -> bool:
        """Whether a member did that, and nothing else has happened to the path since."""
        if told.to is not None:
            return (told.path, told.to) in self._renamed
        if told.change != "delete":
            if any(not folder or told.path.startswith(f"{folder}/") for folder in self._filled):
                return True
            return (mine := self._paths.get(told.path)) is not None and mine.there
        return any((mine := self._paths.get(path)) and not mine.there for path in (told.path, *_above(told.path)))

    def settle(self) -> None:
        """All news of what is done have come."""
        self._paths = {path: mine for path, mine in self._paths.items() if not mine.done}
        self._renamed = {pair: done for pair, done in self._renamed.items() if not done}
        self._filled = {path: done for path, done in self._filled.items() if not done}


class _Seen(msgspec.Struct):
    """`new`: it was not there before; `there`: it is now; `direct`: it was written to by name, as members never do."""

    new: bool
    there: bool
    direct: bool = False
    placed: bool = False
    folder: bool = False


class Batch:
    """What has been seen in a while, one change for each path: what is made and gone again is none."""

    def __init__(self) -> None:
        self._seen: dict[str | tuple[str, str], _Seen] = {}
        self.overflowed = False

    def __bool__(self) -> bool:
        return bool(self._seen)

    def made(self, path: str, *, folder: bool = False, placed: bool = False) -> None:
        """It appeared; `placed` by a rename, whole, and perhaps over what was there."""
        if (seen := self._of(path, new=not placed)) is not None:
            seen.there, seen.folder, seen.placed = True, folder, placed and not folder

    def written(self, path: str) -> None:
        if (seen := self._of(path, new=False)) is not None:
            seen.there = seen.direct = True

    def gone(self, path: str) -> None:
        if (seen := self._of(path, new=False)) is not None:
            seen.there = seen.direct = seen.placed = False

    def renamed(self, path: str, to: str, *, folder: bool) -> None:
        """Within the tree. Of what has just been made only the last name matters."""
        if path in self._seen or to in self._seen or _aside(path) or _aside(to):
            self.gone(path)
            self.made(to, folder=folder, placed=True)
        elif self._room():
            self._seen[path, to] = _Seen(new=False, there=True)

    def told(self, mine: Mine) -> Sequence[Told]:
        """The news in it, in the order in which they began."""
        return [
            told
            for key, seen in self._seen.items()
            if (told := _told(key, seen)) is not None and (seen.direct or not mine.explains(told))
        ]

    def _of(self, path: str, *, new: bool) -> _Seen | None:
        if _aside(path):
            return None
        if path not in self._seen and self._room():
            self._seen[path] = _Seen(new=new, there=True)
        return self._seen.get(path)

    def _room(self) -> bool:
        self.overflowed = self.overflowed or len(self._seen) >= BATCH_MAX
        return not self.overflowed


def _told(key: str | tuple[str, str], seen: _Seen) -> Told | None:
    if isinstance(key, tuple):
        return Told("rename", *key)
    if not seen.there:
        return None if seen.new else Told("delete", key)
    return Told("write" if seen.direct or seen.placed else "create", key)


def _above(path: str) -> list[str]:
    names = path.split("/")
    return ["/".join(names[:count]) for count in range(1, len(names))]


def _aside(path: str) -> bool:
    return any(name.startswith(".") and ASIDE in name for name in path.split("/"))
