"""Who is in a space, and what each is told."""

from collections import deque
from collections.abc import Sequence
from typing import Literal

import msgspec
import trio

from runnerd.errors import RunnerdError
from runnerd.session.viewer import Viewer

NEWS_MAX = 256
"""News that wait for a member; when there are more it must look at everything anew."""

PROGRAMS_MAX = 16
"""Programs whose output a member has not begun to read: one who is further behind does not see the next."""


Change = Literal["project", "create", "write", "rename", "delete", "upload"]


class Came(msgspec.Struct, frozen=True):
    who: "Member"


class Left(msgspec.Struct, frozen=True):
    who: "Member"


class Changed(msgspec.Struct, frozen=True):
    """What `who` did to `path`, a program when that is None; `to` is a renamed thing's path now."""

    who: "Member | None"
    change: Change
    path: str
    to: str | None = None


class Listening(msgspec.Struct, frozen=True):
    """A program has opened this TCP port, or closed it."""

    port: int
    open: bool


class Refused(msgspec.Struct, frozen=True):
    """A text of this member's own could not be written."""

    error: RunnerdError


class Missed(msgspec.Struct, frozen=True):
    """There was too much news."""


class Warned(msgspec.Struct, frozen=True):
    """The space is about to end, in `seconds`; or, without these, something in it is as the message says."""

    message: str
    seconds: float | None = None


class Over(msgspec.Struct, frozen=True):
    """The space has ended, and that is the last of the news."""

    error: RunnerdError


News = Came | Left | Changed | Listening | Refused | Missed | Warned | Over


class Member:
    """One connection in a space. `user` is a name that no other member has at the time; who `watches` takes the output
    of its programs."""

    def __init__(self, user: str, color: str, *, host: bool, watches: bool = True) -> None:
        self.user, self.color, self.host, self._watches = user, color, host, watches
        self._news: deque[News] = deque()
        self._programs: deque[Viewer] = deque()
        self._lot = trio.lowlevel.ParkingLot()

    async def news(self) -> Sequence[News]:
        """Wait for news, and take all that there are."""
        while not self._news:
            await self._lot.park()
        news, self._news = list(self._news), deque()
        return news

    async def program(self) -> Viewer:
        """Wait for the next program's output. The taker closes it."""
        while not self._programs:
            await self._lot.park()
        return self._programs.popleft()

    def tell(self, news: News) -> None:
        if len(self._news) >= NEWS_MAX:
            self._news = deque([Missed()])
        if not self._news or self._news[-1] != news:  # nobody needs to hear twice that a file was written
            self._news.append(news)
            self._lot.unpark_all()

    def show(self, viewer: Viewer) -> None:
        if not self._watches or len(self._programs) >= PROGRAMS_MAX:
            viewer.close()
            return
        self._programs.append(viewer)
        self._lot.unpark_all()

    def close(self) -> None:
        """It has left."""
        while self._programs:
            self._programs.popleft().close()


def free_name(wanted: str, members: Sequence[Member]) -> str:
    """`wanted`, or with the first number that makes it another than all of theirs."""
    taken, name, number = {member.user for member in members}, wanted, 1
    while name in taken:
        number += 1
        name = f"{wanted} {number}"
    return name
