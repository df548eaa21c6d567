"""Runs a program in a box and collects what it does."""

import os
from collections.abc import Mapping
from dataclasses import dataclass

import trio

from runnerd.sandbox.box import Box, open_box
from runnerd.sandbox.host import Host
from runnerd.sandbox.process import Process
from runnerd.sandbox.recipe import Recipe
from runnerd.sandbox.spec import BoxSpec, Exit, Launch, Limits, Mode

ENV = {"PATH": "/opt/runnerd/bin:/usr/local/bin:/usr/bin:/bin", "HOME": "/work", "LANG": "C.UTF-8"}


@dataclass(frozen=True)
class Ran:
    stdout: str
    stderr: str
    exit: Exit | None
    box: Box


async def read_all(fd: int) -> bytes:
    """Everything up to the end of a pipe or terminal."""
    data = bytearray()
    while True:
        await trio.lowlevel.wait_readable(fd)
        try:
            part = os.read(fd, 65536)
        except BlockingIOError:
            continue
        except OSError:
            return bytes(data)
        if not part:
            return bytes(data)
        data += part


async def finish(process: Process) -> tuple[str, str]:
    """Collect a program's output until its end: stdout and stderr."""
    collected = {"stdout": b"", "stderr": b""}

    async def collect(channel: str, fd: int) -> None:
        collected[channel] = await read_all(fd)

    async with trio.open_nursery() as nursery:
        for channel, fd in process.outputs:
            nursery.start_soon(collect, channel, fd)
    await process.exited.wait()
    process.close()
    return collected["stdout"].decode(), collected["stderr"].decode()


async def run(
    host: Host,
    *argv: str,
    spec: BoxSpec | None = None,
    files: Mapping[str, bytes] | None = None,
    mode: Mode = "pipes",
    recipe: Recipe | None = None,
) -> Ran:
    """One program in a fresh box, with its stdin closed in mode pipes. `recipe`: one that lacks a layer."""
    with trio.fail_after(30):
        async with open_box(host, spec or host.spec(Limits()), recipe) as box:
            process = await box.start(Launch(argv, ENV, mode), files)
            process.close_stdin()
            stdout, stderr = await finish(process)
            return Ran(stdout, stderr, process.exit, box)
