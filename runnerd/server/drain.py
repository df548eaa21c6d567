"""The daemon stops: who is to hear of it."""

import trio


class Drain:
    """Tells every conversation that the daemon stops. `seconds` is what running programs are given."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self.begun = trio.Event()
