"""Members are told of limits before these strike."""

import os
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from runnerd.sandbox.host import Host
from runnerd.sandbox.keeper import Used
from runnerd.sandbox.spec import Limits
from runnerd.session.members import Warned
from runnerd.session.nearing import Nearing

from .spaces import Inside, opened


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[int]:
    fd = os.open(tmp_path, os.O_PATH)
    yield fd
    os.close(fd)


def test_each_limit_is_told_once(folder: int) -> None:
    looks = iter((Used(899, 1, 8.9), Used(900, 1, 8.9), Used(950, 1, 8.9), Used(950, 1, 9.5)))
    box: Any = SimpleNamespace(used=lambda: next(looks), handles=SimpleNamespace(work=folder))
    told: list[str] = []
    nearing = Nearing(box, Limits(memory=1000, cpu=10.0), lambda text: told.append(text.split(";")[0]))
    nearing._near.add("tree")  # pyright: ignore[reportPrivateUsage]  this host's own is not of interest
    for _ in range(4):
        nearing.look()
    assert told == ["90% of the space's memory is used", "95% of the space's CPU time is used"]


async def test_a_tree_that_fills(host: Host) -> None:
    async with opened(host, profiles={"space": {"work": 4 * 1024**2}}) as space:
        ada = Inside(space)
        await ada.out("head -c 3900000 /dev/zero > x; sleep 0.4")
        assert "of the space's tree is used" in (await ada.hear(Warned)).message
        await ada.out("rm x; sleep 0.5; head -c 3900000 /dev/zero > x; sleep 0.4")
        assert "of the space's tree is used" in (await ada.hear(Warned)).message
