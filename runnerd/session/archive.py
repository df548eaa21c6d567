"""A space's tree as a tar stream, for a `tar` in the box: what is in an archive meets the box alone."""

import os
import secrets
from collections.abc import AsyncGenerator, AsyncIterable, AsyncIterator
from contextlib import asynccontextmanager, suppress

import trio

from runnerd.errors import BadRequest, BoxError, BrokenBox, RunnerdError
from runnerd.sandbox.box import Box
from runnerd.sandbox.process import Process
from runnerd.sandbox.spec import Launch
from runnerd.session.box_run import START_SECONDS
from runnerd.session.changes import ASIDE
from runnerd.session.run import PATH
from runnerd.session.shell import kill_tree
from runnerd.session.workspace import Workspace

CHUNK = 64 * 1024
"""Bytes of an archive that are passed on at once."""

REST_MAX = 256 * 1024**2
"""Bytes that are read of an archive after tar has ended."""

WORDS_MAX = 1000
"""Bytes of tar's complaints that are told."""

_INSIDE = """\
set -e
root=$(pwd -P)
cd -P -- "./$1"
case $(pwd -P)/ in "$root"/*) ;; *) echo "$1 leads out of the tree" >&2; exit 2 ;; esac
"""

UNPACK = f"""{_INSIDE}
mkdir -- "$root/$2"
tar -x -f - $3 --no-same-owner --no-overwrite-dir -C "$root/$2"
cp -a --link --remove-destination -- "$root/$2/." .
"""
"""Aside first: a link in the tree would lead tar out, and cp follows none. A broken archive leaves nothing."""

PACK = f"""{_INSIDE}
exec tar -c -f - $3 --exclude='.*{ASIDE}*' --exclude='{ASIDE}*' .
"""


async def upload(box: Box, files: Workspace, path: str, data: AsyncIterable[bytes], *, work: str, packed: bool) -> None:
    """Unpack an archive (`packed`: by gzip) over what is in the folder `path` ("": the tree), which is made. All of it
    comes in, or nothing but for what cannot be put in place. Raises BadRequest with tar's words, InitRefused,
    BrokenBox, and what `data` raises."""
    await files.settled()
    aside = f"{ASIDE}upload-{secrets.token_hex(8)}"
    with files.mine.filled(path):
        try:
            if path:
                await box.mkdir(path)
            async with _started(box, _launch(UNPACK, path, aside, work, packed=packed)) as process:
                await _feed(process, data)
        finally:
            with trio.CancelScope(shield=True), suppress(BoxError):
                await box.delete(aside)


@asynccontextmanager
async def download(
    box: Box, files: Workspace, path: str, *, work: str, packed: bool
) -> AsyncGenerator[AsyncIterator[bytes]]:
    """The archive of the folder `path`, in parts, as fast as they are taken. Raises as `upload`, also in its midst."""
    await files.settled()
    os.close(await box.open(path or "."))
    async with _started(box, _launch(PACK, path, "", work, packed=packed)) as process:
        process.close_stdin()
        yield _parts(process)


def _launch(script: str, path: str, aside: str, work: str, *, packed: bool) -> Launch:
    argv = ("bash", "-c", script, "bash", path, aside, "-z" if packed else "")
    return Launch(argv, {"PATH": PATH, "LC_ALL": "C.UTF-8", "HOME": work}, "pipes", work)


@asynccontextmanager
async def _started(box: Box, launch: Launch) -> AsyncGenerator[Process]:
    process = await _start(box, launch)
    try:
        yield process
    finally:
        if process.exit is None:
            with trio.CancelScope(shield=True):
                await kill_tree(box, process)
        process.close()
        box.release(process)


async def _start(box: Box, launch: Launch) -> Process:
    """Not cancelled: the box would keep a program that nobody knows."""
    with trio.move_on_after(START_SECONDS, shield=True):
        return await box.start(launch)
    box.kill()
    raise BrokenBox(f"the box did not start tar within {START_SECONDS:g} s")


async def _feed(process: Process, data: AsyncIterable[bytes]) -> None:
    """Give tar the archive and wait for its end, whichever comes first."""
    words = bytearray()
    failed: list[Exception] = []
    async with trio.open_nursery() as nursery:

        async def write() -> None:
            try:
                await _pass_on(process, data)
            except Exception as problem:
                failed.append(problem)
                nursery.cancel_scope.cancel()

        (_, stdout), (_, stderr) = process.outputs
        nursery.start_soon(write)
        nursery.start_soon(_drain, stdout, bytearray())
        await _drain(stderr, words)
        await process.exited.wait()
    if failed:
        raise failed[0]
    _judge(process, words)


async def _pass_on(process: Process, data: AsyncIterable[bytes]) -> None:
    """What tar takes no more is read all the same: few clients look at an answer before they have sent all."""
    over = 0
    async for part in data:
        if not over:
            try:
                await _write(process.stdin, part)
                continue
            except BrokenPipeError:
                pass  # it tells why
        over += len(part)
        if over > REST_MAX:
            return
    process.close_stdin()


async def _parts(process: Process) -> AsyncIterator[bytes]:
    words = bytearray()
    (_, stdout), (_, stderr) = process.outputs
    while part := await _read(stdout):
        yield part
    await _drain(stderr, words)
    await process.exited.wait()
    _judge(process, words, fine=(0, 1))  # 1: files changed as they were read


def _judge(process: Process, words: bytearray, fine: tuple[int, ...] = (0,)) -> None:
    if process.exit is None:
        raise BrokenBox("the box has ended")
    if process.exit.code in fine:
        return
    text = words.decode(errors="replace").strip() or f"tar was ended by signal {process.exit.signal}"
    raise BadRequest(f"the archive: {text}", hint="a tar archive, by gzip where that is told", code="refused")


async def _write(fd: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        try:
            view = view[os.write(fd, view) :]
        except BlockingIOError:
            await trio.lowlevel.wait_writable(fd)


async def _read(fd: int) -> bytes:
    """b"" at the end."""
    while True:
        await trio.lowlevel.wait_readable(fd)
        with suppress(BlockingIOError):
            return os.read(fd, CHUNK)


async def _drain(fd: int, words: bytearray) -> None:
    """Read to the end, and keep the beginning."""
    while part := await _read(fd):
        words += part[: WORDS_MAX - len(words)]


class ClientGone(RunnerdError):
    """Who sent an archive has left in its midst, or sends no more."""

    code, status = "client_gone", 400
