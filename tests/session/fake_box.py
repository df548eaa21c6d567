"""Boxes without a kernel behind them: the program is a coroutine that holds the other ends of real pipes or PTYs."""

import os
import tty
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import pytest
import trio

from runnerd.errors import BrokenBox
from runnerd.sandbox import pool
from runnerd.sandbox.keeper import Used
from runnerd.sandbox.process import Process
from runnerd.sandbox.spec import BoxSpec, Exit, Launch, Mode, Outcome
from runnerd.session import attention


@dataclass
class Inside:
    """A program's own view: its descriptors, its launch, the files it found."""

    launch: Launch
    files: dict[str, bytes]
    box: "FakeBox"
    process: Process
    stdin: int
    stdout: int
    stderr: int
    signals: list[int] = field(default_factory=list)
    signalled: trio.Event = field(default_factory=trio.Event)

    def out(self, data: bytes) -> None:
        os.write(self.stdout, data)

    def err(self, data: bytes) -> None:
        os.write(self.stderr, data)

    async def read(self, size: int = 4096) -> bytes:
        await trio.lowlevel.wait_readable(self.stdin)
        return os.read(self.stdin, size)

    def close(self) -> None:
        for fd in {self.stdin, self.stdout, self.stderr}:
            trio.lowlevel.notify_closing(fd)
            os.close(fd)


Program = Callable[[Inside], Awaitable[Exit | int | None]]
"""What a fake program does; its result is how it ends: an Exit, an exit code, or None to stay silent for ever."""


def descriptors(mode: Mode) -> tuple[list[int], tuple[int, int, int]]:
    """(the daemon's ends as init passes them, the program's 0, 1, 2)."""
    if mode == "pipes":
        (in_r, in_w), (out_r, out_w), (err_r, err_w) = os.pipe(), os.pipe(), os.pipe()
        ours, theirs = [in_w, out_r, err_r], (in_r, out_w, err_w)
    else:
        master, slave = os.openpty()
        ours, theirs = [master], (slave, slave, slave)
        if mode == "split":
            second, other = os.openpty()
            ours, theirs = [master, second], (slave, slave, other)
            for fd in (slave, other):
                tty.setraw(fd)
    for fd in ours:
        os.set_blocking(fd, False)
    return ours, theirs


class FakeBox:
    def __init__(self, world: "World", spec: BoxSpec, nursery: trio.Nursery) -> None:
        self._world, self._nursery = world, nursery
        self.spec = spec
        self.ended = trio.Event()
        self.exceeded: Outcome | None = None
        self.failure: BrokenBox | None = None
        self.handles: Any = world
        self.short = False
        self.killed = False
        self.insides: list[Inside] = []
        self.released: list[Process] = []

    async def start(self, launch: Launch, files: dict[str, bytes] | None = None) -> Process:
        await self._world.start_gate.wait()
        if self.killed:
            raise BrokenBox("the box ended before it could start it")
        if self._world.start_error is not None:
            raise self._world.start_error
        ours, theirs = descriptors(launch.mode)
        process = Process(len(self.insides) + 1, 2, launch.mode, ours)
        inside = Inside(launch, dict(files or {}), self, process, *theirs)
        self.insides.append(inside)
        self._nursery.start_soon(self._live, inside)
        await trio.lowlevel.checkpoint()
        return process

    async def _live(self, inside: Inside) -> None:
        program = self._world.programs[min(len(self.insides), len(self._world.programs)) - 1]
        try:
            result = await program(inside)
            if result is None:
                await trio.sleep_forever()
            if not inside.process.exited.is_set():
                inside.process.exit = result if isinstance(result, Exit) else Exit(result, None, 0.1, 2000)
                inside.process.exited.set()
        finally:
            inside.close()

    async def signal(self, process: Process, signum: int, scope: str = "foreground") -> None:
        await trio.lowlevel.checkpoint()
        if self.killed:
            raise BrokenBox("the box has ended")
        inside = next(inside for inside in self.insides if inside.process is process)
        inside.signals.append(signum)
        inside.signalled.set()

    def used(self) -> Used:
        return Used(peak=1000, tasks=3, cpu=0.5)

    def short_of_processes(self) -> bool:
        return self.short

    def release(self, process: Process) -> None:
        self.released.append(process)

    def kill(self, exceeded: Outcome | None = None) -> None:
        if self.killed:
            return
        self.killed = True
        self.exceeded = exceeded
        self.ended.set()
        for inside in self.insides:
            inside.process.exited.set()


class World:
    """What all fake boxes of a test do. `programs` are those of a box in order, the last for all later ones."""

    def __init__(self) -> None:
        self.programs: list[Program] = []
        self.boxes: list[FakeBox] = []
        self.start_gate = trio.Event()
        self.start_gate.set()
        self.start_error: Exception | None = None
        self.open_error: Exception | None = None
        self.waits = False
        self.looks: list[float] = []
        self.reaping = trio.Event()
        self.reaping.set()
        self.proc = -1

    @asynccontextmanager
    async def open_box(self, host: object, spec: BoxSpec) -> AsyncGenerator[FakeBox]:
        if self.open_error is not None:
            raise self.open_error
        async with trio.open_nursery() as nursery:
            box = FakeBox(self, spec, nursery)
            self.boxes.append(box)
            try:
                yield box
            finally:
                box.kill()
                nursery.cancel_scope.cancel()
        with trio.CancelScope(shield=True):
            await self.reaping.wait()

    def waits_for_input(self, proc: int, terminal: int | None) -> bool:
        self.looks.append(trio.current_time())
        return self.waits


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> World:
    """Replaces boxes, and the look into them, below the session."""
    world = World()
    monkeypatch.setattr(pool, "open_box", world.open_box)
    monkeypatch.setattr(attention, "waits_for_input", world.waits_for_input)
    return world
