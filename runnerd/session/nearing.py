"""Which limits of a space are nearly met: members are told before these strike."""

import os
from collections.abc import Callable, Iterator

from runnerd.sandbox.box import Box
from runnerd.sandbox.spec import Limits

NEAR = 0.9
"""The part of a limit at which members are told."""

FAR = 0.75
"""Below this part they will be told again."""


class Nearing:
    """`tell` hears of each limit of `box` that comes near, in words."""

    def __init__(self, box: Box, limits: Limits, tell: Callable[[str], None]) -> None:
        self._box, self._limits, self._tell = box, limits, tell
        self._near: set[str] = set()

    def look(self) -> None:
        for name, part, then in self._parts():
            if part >= NEAR and name not in self._near:
                self._near.add(name)
                self._tell(f"{part:.0%} of the space's {name} is used; {then}")
            elif part < FAR:
                self._near.discard(name)

    def _parts(self) -> Iterator[tuple[str, float, str]]:
        used, limits = self._box.used(), self._limits
        if limits.memory:
            yield "memory", used.peak / limits.memory, "it ends when there is no more"
        if limits.cpu:
            yield "CPU time", used.cpu / limits.cpu, "it ends when there is no more"
        assert self._box.handles is not None
        tree = os.fstatvfs(self._box.handles.work)
        if tree.f_blocks:
            yield "tree", 1 - tree.f_bfree / tree.f_blocks, "writes fail when it is full"
