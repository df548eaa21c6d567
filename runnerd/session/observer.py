"""What programs change in a space's tree, noticed from outside by one inotify instance for all spaces."""

import logging
import os
import stat
from collections.abc import Callable
from contextlib import suppress
from itertools import islice

import trio

from runnerd.errors import BoxError
from runnerd.sandbox import inotify
from runnerd.sandbox.box import Box
from runnerd.sandbox.inotify import Event, Inotify
from runnerd.session.changes import ASIDE, Batch, Mine, Told

log = logging.getLogger("runnerd.session")

DEBOUNCE = 0.15
"""Seconds for which changes are collected before they are told."""

READ_PAUSE = 0.05
"""Seconds between two reads of the kernel's queue: however much programs write, it wakes nobody more often."""

FOLDERS_MAX = 2000
"""Folders of one space that are watched; a user has so many watches in all (fs.inotify.max_user_watches)."""

DEPTH_MAX = 32
"""Names in a path below which nothing is watched."""

EVENTS_MAX = 4000
"""Events of one space between two times at which members are told. One that has more is not watched for a while: it
would keep the daemon busy, and fill the queue that all spaces have."""

FLOOD_PAUSE = 1.0
"""Seconds after which it is watched again."""

FOUND_MAX = 1000
"""Entries of a new folder that are looked at."""

ROUNDS_MAX = 64
"""New folders that are looked into before what is known is told."""

Place = tuple[int, str]
"""The watch of the folder that something is in, and its name there."""

TOP = -1
ROOT: Place = (TOP, "")


class Watches:
    """The daemon's inotify instance, which is there while spaces are: from `start` to `stop`."""

    def __init__(self) -> None:
        self._inotify: Inotify | None = None
        self._scope: trio.CancelScope | None = None
        self._opened = trio.Event()
        self._by_watch: dict[int, Observer] = {}

    def start(self, nursery: trio.Nursery) -> None:
        """Give events to whose folders they tell of. Twice is no error."""
        if self._scope is None:
            self._scope = trio.CancelScope()
            nursery.start_soon(self._run, self._scope)

    def stop(self) -> None:
        if self._scope is not None:
            self._scope.cancel()
            self._scope = None
        if self._inotify is not None:
            trio.lowlevel.notify_closing(self._inotify.fd)
            self._inotify.close()
            self._inotify, self._opened = None, trio.Event()
        self._by_watch.clear()

    async def _run(self, scope: trio.CancelScope) -> None:
        with scope, suppress(trio.ClosedResourceError):
            await self._opened.wait()
            while self._inotify is not None:
                await trio.lowlevel.wait_readable(self._inotify.fd)
                self.drain()
                await trio.sleep(READ_PAUSE)

    def add(self, folder: int, observer: "Observer") -> int:
        """Watch a folder by its descriptor. Raises OSError."""
        if self._inotify is None:
            self._inotify = Inotify()
            self._opened.set()
        watch = self._inotify.watch(folder)
        self._by_watch[watch] = observer
        return watch

    def forget(self, watch: int) -> None:
        if self._by_watch.pop(watch, None) is not None and self._inotify is not None:
            self._inotify.forget(watch)

    def drain(self) -> None:
        """Give out all that has happened up to now."""
        for event in self._inotify.read() if self._inotify is not None else ():
            if event.mask & inotify.OVERFLOW:
                for observer in set(self._by_watch.values()):
                    observer.lost()
            elif (observer := self._by_watch.get(event.watch)) is not None:
                observer.take(event)
            if event.mask & inotify.IGNORED:
                self._by_watch.pop(event.watch, None)

    def __len__(self) -> int:
        return len(self._by_watch)


class Observer:
    """One tree. `tell` hears each change that is not one of `mine`; `missed` that there were more than could be told,
    `blind` why some cannot be seen any more, once. `run` is its task, and frees everything at its end."""

    def __init__(
        self,
        box: Box,
        watches: Watches,
        mine: Mine,
        tell: Callable[[Told], None],
        missed: Callable[[], None],
        blind: Callable[[str], None],
    ) -> None:
        self._box, self._watches, self._mine = box, watches, mine
        self._tell, self._missed, self._tell_blind = tell, missed, blind
        self._places: dict[int, Place] = {}
        """Of each watch."""
        self._watched: dict[Place, int] = {}
        self._moved: dict[int, tuple[Place, str]] = {}
        """By cookie: what was taken from its place, and its path there."""
        self._new: dict[Place, bool] = {}
        """Folders to look into, and whether what is in them is news."""
        self._batch = Batch()
        self._lost = self._blind = False
        self._taken = 0
        self._stirred = trio.Event()

    async def run(self) -> None:
        """Until cancelled, or the tree cannot be watched."""
        assert self._box.handles is not None
        self._device = os.fstat(self._box.handles.work).st_dev
        try:
            self._new[ROOT] = False
            await self._look()
            while True:
                await self._stirred.wait()
                await trio.sleep(DEBOUNCE)
                self._stirred = trio.Event()
                await self._look()
                if self._flush():
                    await trio.sleep(FLOOD_PAUSE)
        except BoxError:
            pass  # it has ended
        finally:
            self._unwatch()

    # --- what the kernel tells -------------------------------------------------------------------------------------

    def take(self, event: Event) -> None:
        mask, watch = event.mask, event.watch
        if mask & inotify.IGNORED:
            self._drop(watch)
        if not event.name or (parent := self._path(watch)) is None:
            return
        self._taken += 1
        if self._taken > EVENTS_MAX:
            self.lost()
            self._unwatch()
            return
        place, path = (watch, event.name), f"{parent}/{event.name}".lstrip("/")
        folder = bool(mask & inotify.ISDIR)
        if mask & inotify.MOVED_FROM:
            self._moved[event.cookie] = place, path
        elif mask & inotify.MOVED_TO:
            self._arrived(event.cookie, place, path, folder=folder)
        elif mask & inotify.CREATE:
            self._batch.made(path, folder=folder)
            if folder:
                self._new[place] = True
        elif mask & inotify.DELETE:
            self._batch.gone(path)
            self._new.pop(place, None)
        else:
            self._batch.written(path)
        self._stirred.set()

    def lost(self) -> None:
        """The kernel's queue was full."""
        self._lost = True
        self._stirred.set()

    def _arrived(self, cookie: int, place: Place, path: str, *, folder: bool) -> None:
        if cookie not in self._moved:
            self._batch.made(path, folder=folder, placed=True)
            if folder:
                self._new[place] = True
            return
        old, old_path = self._moved.pop(cookie)
        self._batch.renamed(old_path, path, folder=folder)
        if (watch := self._watched.pop(old, None)) is not None:
            self._put(watch, place)
        elif folder:
            self._new[place] = self._new.pop(old, True)

    # --- where folders are -----------------------------------------------------------------------------------------

    def _path(self, watch: int) -> str | None:
        """Where a watched folder is now; None when it is in the tree no more, or too deep to be told of."""
        names: list[str] = []
        while watch != TOP:
            if (place := self._places.get(watch)) is None or len(names) > DEPTH_MAX:
                return None
            watch, name = place
            names.append(name)
        return "/".join(reversed(names)).lstrip("/")

    def _put(self, watch: int, place: Place) -> None:
        self._drop(watch)
        self._places[watch] = place
        self._watched[place] = watch

    def _unwatch(self) -> None:
        for watch in self._places:
            self._watches.forget(watch)
        self._places.clear()
        self._watched.clear()
        self._moved.clear()
        self._new.clear()

    def _drop(self, watch: int) -> None:
        place = self._places.pop(watch, None)
        if place is not None and self._watched.get(place) == watch:
            del self._watched[place]

    # --- what is told ----------------------------------------------------------------------------------------------

    def _flush(self) -> bool:
        """Tell what has been collected; True when there was more than that."""
        batch, self._batch, self._taken = self._batch, Batch(), 0
        lost, self._lost = self._lost or batch.overflowed, False
        if lost:
            self._missed()
            self._new[ROOT] = False  # folders may have come that nobody told of
            self._stirred.set()
        else:
            for told in batch.told(self._mine):
                self._tell(told)
        self._mine.settle()
        return lost

    async def _look(self) -> None:
        """Take what has happened, look into new folders, and again, until all is known at one moment."""
        for _ in range(ROUNDS_MAX):
            self._watches.drain()
            if not self._new:
                break
            place = next(iter(self._new))
            await self._explore(place, news=self._new.pop(place))
        if self._new:
            self._stirred.set()
        if self._moved:  # to places that are not watched
            for place, path in self._moved.values():
                self._batch.gone(path)
                self._new.pop(place, None)
                if (watch := self._watched.get(place)) is not None:
                    self._drop(watch)
                    self._watches.forget(watch)
            self._moved.clear()
            for watch in [each for each in self._places if self._path(each) is None]:
                self._drop(watch)
                self._watches.forget(watch)

    async def _explore(self, place: Place, *, news: bool) -> None:
        """Watch a folder, then find what was made in it before."""
        parent, name = place
        above = "" if parent == TOP else self._path(parent)
        if above is None or ASIDE in name or above.count("/") >= DEPTH_MAX - 1:
            return
        path = f"{above}/{name}".lstrip("/")
        if len(self._places) >= FOLDERS_MAX and place not in self._watched:
            self._be_blind(f"more than {FOLDERS_MAX} folders")
            return
        try:
            fd = await self._box.open(path or ".")
        except BoxError:
            if self._box.ended.is_set():
                raise
            return  # it is gone, and news of that come
        try:
            if (watch := self._watch(fd, place)) is None:
                return
            with os.scandir(fd) as entries:
                found = list(islice(entries, FOUND_MAX + 1))
            for entry in found:
                inner, folder = f"{path}/{entry.name}".lstrip("/"), entry.is_dir(follow_symlinks=False)
                if news:
                    self._batch.made(inner, folder=folder)
                if folder:
                    self._new.setdefault((watch, entry.name), news)
            if len(found) > FOUND_MAX:
                self._lost = news
        except OSError as problem:
            self._be_blind(problem.strerror or str(problem))
        finally:
            os.close(fd)

    def _watch(self, fd: int, place: Place) -> int | None:
        """A descriptor that came out of the box: only a folder of its own tree is looked at. Raises OSError."""
        found = os.fstat(fd)
        if not stat.S_ISDIR(found.st_mode) or found.st_dev != self._device:
            return None
        watch = self._watches.add(fd, self)
        self._put(watch, place)
        return watch

    def _be_blind(self, why: str) -> None:
        if not self._blind:
            self._blind = True
            log.warning("changes in a space cannot all be seen", extra={"reason": why})
            self._tell_blind(f"changes that programs make are not all told any more: {why}")
