"""One program of a connection, by the number that the client gave it."""

from typing import TYPE_CHECKING

import trio

from runnerd.protocols import CloseInput, Failed, Input, Kill, Resize, Signal
from runnerd.session.terminal import Seat
from runnerd.session.viewer import Viewer

if TYPE_CHECKING:
    from runnerd.session.session import Session

StreamCommand = Input | CloseInput | Resize | Signal | Kill


class ProgramStream:
    """One program of a connection. Until its session exists, commands wait in `early`; errors about single commands
    of a session wait in `refused` until `started` was told, without which an error means that there is no program; then
    it is None.
    """

    def __init__(self, number: int) -> None:
        self.number = number
        self.session: Session | Seat | None = None
        self.viewer: Viewer | None = None
        self.early: list[StreamCommand] = []
        self.early_bytes = 0
        self.refused: list[Failed] | None = []
        self.signals = 0
        self.scope = trio.CancelScope()

    def begin(self) -> list[Failed]:
        """The errors that have waited; from now on none does."""
        refused, self.refused = self.refused or [], None
        return refused
