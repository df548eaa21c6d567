"""A box without a kernel behind it that holds files and starts nothing, so that a space can be looked at by itself."""

import errno
import os
import socket
from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager

import trio

from runnerd.errors import BoxError, BrokenBox, InitRefused
from runnerd.sandbox.keeper import Used
from runnerd.sandbox.spec import Launch, Outcome
from runnerd.sandbox.wire import Entry


class TreeBox:
    """`files` by path. `problem` is what it does not come up by."""

    def __init__(self, problem: BoxError | None = None) -> None:
        self.files: dict[str, bytes] = {}
        self.writes: list[str] = []
        self.may_write = trio.Event()
        self.may_write.set()
        self.may_start = trio.Event()
        self.may_start.set()
        self.ports: dict[int, int] = {}
        """Ports of the box, and where a test listens on 127.0.0.1 in their place."""
        self.may_dial = trio.Event()
        self.may_dial.set()
        self.ended = trio.Event()
        self.exceeded: Outcome | None = None
        self.failure: BrokenBox | None = None
        self.handles = None
        self.problem = problem
        self.reaped = False

    @asynccontextmanager
    async def live(self) -> AsyncGenerator["TreeBox"]:
        try:
            yield self
        finally:
            self.kill()
            self.reaped = True

    async def alive(self) -> None:
        await trio.lowlevel.checkpoint()
        if self.problem is not None:
            raise self.problem

    def kill(self, exceeded: Outcome | None = None) -> None:
        self.exceeded = self.exceeded or exceeded
        self.ended.set()

    def used(self) -> Used:
        return Used()

    async def write(self, path: str, data: bytes) -> None:
        self.writes.append(path)
        await self.may_write.wait()
        if self.ended.is_set():
            raise BrokenBox("the box has ended")
        if path.startswith("full/"):
            raise InitRefused("write", errno.ENOSPC, path)
        self.files[path] = data

    async def write_all(self, files: Mapping[str, bytes]) -> None:
        for path, data in files.items():
            await self.write(path, data)

    async def mkdir(self, path: str) -> None:
        await trio.lowlevel.checkpoint()

    async def open(self, path: str) -> int:
        await trio.lowlevel.checkpoint()
        if path not in self.files:
            raise InitRefused("open", errno.ENOENT, path)
        fd = os.memfd_create("file")
        os.pwrite(fd, self.files[path], 0)
        return fd

    async def list(self, path: str) -> list[Entry]:
        await trio.lowlevel.checkpoint()
        return [Entry(name, len(data), 0, 0o100644) for name, data in self.files.items()]

    async def dial(self, port: int, host: str) -> socket.socket:
        await self.may_dial.wait()
        if port in self.ports:
            connected = await trio.open_tcp_stream("127.0.0.1", self.ports[port])
            inner = socket.socket(fileno=os.dup(connected.socket.fileno()))
            await connected.aclose()
            inner.setblocking(False)
            return inner
        raise InitRefused("dial", errno.ECONNREFUSED, f"{host}:{port}")

    async def start(self, launch: Launch) -> None:
        await self.may_start.wait()
        raise InitRefused("start", errno.ENOENT, launch.argv[0])
