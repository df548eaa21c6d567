"""Protocols 000 and 001 share one address, `/ws`: messages with an `action` are execute's, with an `event` widget's.

And its connections: what runs in one of them makes the other answer `busy`, as a run of its own would.
"""

from collections.abc import Sequence
from itertools import count

from runnerd.errors import RunnerdError
from runnerd.protocols import Command, Event, Frame
from runnerd.protocols.execute import Clock, ExecuteAdapter
from runnerd.protocols.fields import Fields
from runnerd.protocols.widget import WidgetAdapter

PATH = "/ws"


class WsAdapter:
    """What belongs to no run is told in the protocol that the client spoke last, at first in execute's."""

    def __init__(self, clock: Clock) -> None:
        streams = count()
        self._execute = ExecuteAdapter(streams, clock, lambda: self._widget.running)
        self._widget = WidgetAdapter(streams, lambda: self._execute.running)
        self._spoken: ExecuteAdapter | WidgetAdapter = self._execute

    def receive(self, frame: Frame) -> tuple[Sequence[Command], Sequence[Frame]]:
        if isinstance(frame, str):
            try:
                fields = Fields.decode(frame)
            except RunnerdError:
                return self._spoken.receive(frame)
            if "action" in fields:
                self._spoken = self._execute
            elif "event" in fields:
                self._spoken = self._widget
        return self._spoken.receive(frame)

    def send(self, *events: Event) -> Sequence[Frame]:
        stream = getattr(events[0], "stream", None)
        return next((each for each in (self._execute, self._widget) if stream in each), self._spoken).send(*events)
