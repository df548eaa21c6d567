"""Puts a process's terminals back as they were when it began, between two runs of a kernel."""

import os
import select
import termios
from contextlib import suppress

from runnerd.sandbox.process import Process
from runnerd.session.program import open_peer


class Terminals:
    """The terminals of a process that has not run any code yet; none in mode pipes. `close` before the process."""

    def __init__(self, process: Process) -> None:
        masters = [fd for _, fd in process.outputs] if process.mode != "pipes" else []
        self._peers = [peer for master in masters if (peer := open_peer(master)) >= 0]
        self._modes = [termios.tcgetattr(peer) for peer in self._peers]

    def restore(self) -> None:
        """Their modes, and no input that nobody has read."""
        for peer, modes in zip(self._peers, self._modes, strict=True):
            poll = select.poll()
            poll.register(peer, select.POLLPRI)
            poll.poll(0)  # waits for input that is still on its way through the kernel
            with suppress(termios.error):  # the process has ended
                termios.tcsetattr(peer, termios.TCSANOW, modes)
                termios.tcflush(peer, termios.TCIFLUSH)

    def close(self) -> None:
        for peer in self._peers:
            os.close(peer)
        self._peers = []
