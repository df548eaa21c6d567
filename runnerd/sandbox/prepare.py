"""Makes what a toolchain wants prepared: its command runs in a box, and what that leaves is taken out."""

import os
import secrets
import shutil
import stat
from pathlib import Path

import msgspec
import trio

from runnerd.errors import BoxError, SetupError
from runnerd.sandbox.box import Box, open_box
from runnerd.sandbox.host import Host
from runnerd.sandbox.prepared import FILES, MANIFEST, Manifest, digest, folders
from runnerd.sandbox.process import Process
from runnerd.sandbox.spec import Launch, Limits, MiB
from runnerd.sandbox.stamps import stamps
from runnerd.toolchains import Toolchain, on_host

LIMITS = Limits(memory=2048 * MiB, processes=512, cpus=64, cpu=0, wall=0, idle=0, work=2048 * MiB, tmp=1024 * MiB)
"""Of the box that it is made in."""

SECONDS = 600.0
"""After which a command that has not ended is given up."""

ENV = {"PATH": "/usr/local/bin:/usr/bin:/bin", "HOME": "/work", "LANG": "C.UTF-8"}

DEPTH, FILES_MAX = 32, 100_000
"""How deep a tree may be that is taken out, and how many names it may have."""


async def prepare(host: Host, toolchain: Toolchain, base: Path) -> int:
    """Make it below `base`, and remove what was there, all of it stale; the bytes that it takes.

    The command runs in an empty work tree and leaves a folder `prepared`, and a file `inputs` that names all that it
    was made of, a path on each line. Raises BoxError with the command's own words when it fails, SetupError when its
    files cannot be kept.
    """
    assert toolchain.prepare is not None
    new = base / f".{toolchain.id}-{secrets.token_hex(8)}"
    try:
        (new / FILES).mkdir(parents=True)
        async with open_box(host, host.spec(LIMITS, binds=toolchain.binds)) as box:
            with trio.move_on_after(SECONDS) as patience:
                await _run(box, toolchain.prepare)
            if patience.cancelled_caught:
                raise BoxError(f"{toolchain.prepare[0]} did not end within {SECONDS:g} s")
            inputs = _read(await box.open("inputs")).decode().split("\n")
            size = await _take(box, "prepared", new / FILES)
        used = {on_host(path, toolchain.binds) for path in inputs if path}
        manifest = Manifest(digest(toolchain), stamps(sorted(used)))
        (new / MANIFEST).write_bytes(msgspec.json.encode(manifest))
        for path in (new, new / FILES):
            path.chmod(0o755)
        stale = folders(base, toolchain)
        new.rename(base / new.name[1:])
    except OSError as problem:
        raise SetupError(
            f"keeping what was prepared for {toolchain.name} in {base}: {problem.strerror} (errno {problem.errno})",
            hint="name another folder by --state-dir or state_dir",
        ) from problem
    finally:
        shutil.rmtree(new, ignore_errors=True)
    for each in stale:  # nobody has used it for as long as this took
        shutil.rmtree(each, ignore_errors=True)
    return size


async def _run(box: Box, argv: tuple[str, ...]) -> None:
    process = await box.start(Launch(argv, ENV, "pipes"))
    process.close_stdin()
    try:
        words = await _words(process)
        await process.exited.wait()
    finally:
        process.close()
    if process.exit is None:
        raise box.failure or BoxError(f"the box ended: {box.exceeded or 'by itself'}")
    if process.exit.code != 0:
        raise BoxError(f"{' '.join(argv)} failed: {words[-2000:].decode('utf-8', 'replace').strip()}")


async def _words(process: Process) -> bytes:
    """The last of what it says, to either of its pipes."""
    said = bytearray()

    async def read(fd: int) -> None:
        while True:
            await trio.lowlevel.wait_readable(fd)
            data = os.read(fd, 65536)
            if not data:
                return
            said.extend(data)
            del said[:-65536]

    async with trio.open_nursery() as nursery:
        for _, fd in process.outputs:
            nursery.start_soon(read, fd)
    return bytes(said)


async def _take(box: Box, path: str, target: Path, depth: int = 0) -> int:
    """Copy a folder of the box, files and folders only, readable by all; the bytes of its files."""
    if depth > DEPTH:
        raise BoxError(f"{path} is deeper than {DEPTH} folders")
    size = 0
    entries = await box.list(path)
    if len(entries) > FILES_MAX:
        raise BoxError(f"{path} has more than {FILES_MAX} names")
    for entry in entries:
        inside, copy = f"{path}/{entry.name}", target / entry.name
        if "/" in entry.name or entry.name in (".", ".."):
            raise BoxError(f"{path} has an impossible name")
        if stat.S_ISDIR(entry.mode):
            copy.mkdir()
            size += await _take(box, inside, copy, depth + 1)
            copy.chmod(0o755)
            continue
        if not stat.S_ISREG(entry.mode):
            raise BoxError(f"{inside} is neither a file nor a folder")
        fd = await box.open(inside)
        size += await trio.to_thread.run_sync(_copy, fd, copy)
        copy.chmod(0o555 if entry.mode & 0o111 else 0o444)
        # As they were: build caches look at it.
        os.utime(copy, (entry.mtime, entry.mtime))
    return size


def _read(fd: int) -> bytes:
    with open(fd, "rb") as source:
        return source.read()


def _copy(fd: int, target: Path) -> int:
    with open(fd, "rb") as source, target.open("wb") as copy:
        shutil.copyfileobj(source, copy, 1024 * 1024)
        return copy.tell()
