"""Archives that go into a space and come out of it, hostile ones among them: nothing leaves the tree, nothing hangs."""

import io
import os
import tarfile
from collections.abc import AsyncIterator, Callable

import pytest
import trio

from runnerd.errors import BadRequest, Busy, InitRefused, RunnerdError
from runnerd.sandbox.host import Host
from runnerd.session import space as spaces
from runnerd.session.members import Changed
from runnerd.session.space import Space

from .spaces import Inside, opened

Make = Callable[[tarfile.TarFile], None]


def file(tar: tarfile.TarFile, name: str, data: bytes = b"x") -> None:
    info = tarfile.TarInfo(name)
    info.size = len(data)
    tar.addfile(info, io.BytesIO(data))


def special(tar: tarfile.TarFile, name: str, kind: bytes, target: str = "") -> None:
    info = tarfile.TarInfo(name)
    info.type, info.linkname, info.devmajor, info.devminor = kind, target, 1, 3
    tar.addfile(info)


def made(make: Make, mode: str = "w") -> bytes:
    memory = io.BytesIO()
    with tarfile.open(fileobj=memory, mode=mode) as tar:  # pyright: ignore[reportArgumentType, reportCallIssue]
        make(tar)
    return memory.getvalue()


async def parts(data: bytes, size: int = 10_000) -> AsyncIterator[bytes]:
    for at in range(0, len(data), size):
        yield data[at : at + size]


async def put(space: Space, data: bytes, path: str = "", *, packed: bool = False) -> None:
    await space.upload(path, parts(data), packed=packed)


async def got(space: Space, path: str = "", *, packed: bool = False) -> dict[str, bytes]:
    memory = io.BytesIO()
    async with space.download(path, packed=packed) as stream:
        async for part in stream:
            memory.write(part)
    memory.seek(0)
    with tarfile.open(fileobj=memory) as tar:
        return {
            info.name: found.read() if (found := tar.extractfile(info)) is not None else b""
            for info in tar.getmembers()
            if info.isfile()
        }


async def nothing_aside(ada: Inside) -> None:
    assert "runnerd" not in await ada.out("ls -A")


@pytest.mark.parametrize("packed", [False, True])
async def test_what_goes_in_comes_out(host: Host, packed: bool) -> None:
    async with opened(host) as space:
        ada = Inside(space)
        big = os.urandom(1_000_000)

        def make(tar: tarfile.TarFile) -> None:
            file(tar, "a/b/c.py", b"print('ran')")
            file(tar, "big", big)
            special(tar, "a/link", tarfile.SYMTYPE, "b/c.py")

        ada.write("sub/a/kept", b"kept")
        ada.write("sub/big", b"old")
        await put(space, made(make, "w:gz" if packed else "w"), "sub", packed=packed)
        assert await ada.out("python sub/a/link; cat sub/a/kept") == "ran\nkept"
        assert (await ada.hear(Changed)) == Changed(None, "upload", "sub")
        whole = await got(space, packed=packed)
        assert whole == {"./sub/a/b/c.py": b"print('ran')", "./sub/big": big, "./sub/a/kept": b"kept"}
        assert set(await got(space, "sub/a")) == {"./b/c.py", "./kept"}
        await nothing_aside(ada)


HOSTILE: dict[str, Make] = {
    "absolute": lambda tar: file(tar, "/tmp/out/x"),
    "up": lambda tar: file(tar, "../tmp/out/x"),
    "up in the midst": lambda tar: file(tar, "a/../../tmp/out/x"),
    "through its own link": lambda tar: (special(tar, "l", tarfile.SYMTYPE, "/tmp/out"), file(tar, "l/x"))[0],
    "through its own folder's link": lambda tar: (
        special(tar, "d", tarfile.DIRTYPE),
        special(tar, "d/l", tarfile.SYMTYPE, "../../tmp/out"),
        file(tar, "d/l/x"),
    )[0],
    "through a planted link": lambda tar: file(tar, "planted/x"),
    "over a planted file's link": lambda tar: file(tar, "planted-file", b"over"),
    "hard link": lambda tar: (special(tar, "h", tarfile.LNKTYPE, "/tmp/out/secret"), file(tar, "h", b"over"))[0],
    "device": lambda tar: special(tar, "dev", tarfile.CHRTYPE),
    "long name": lambda tar: file(tar, "n" * 300),
}


@pytest.mark.parametrize("name", HOSTILE)
async def test_nothing_is_written_outside(host: Host, name: str) -> None:
    async with opened(host) as space:
        ada = Inside(space)
        await ada.out("mkdir /tmp/out; echo secret > /tmp/out/secret; ln -s /tmp/out planted")
        await ada.out("ln -s /tmp/out/secret planted-file; chmod 600 /tmp/out/secret")
        try:
            await put(space, made(HOSTILE[name]))
        except BadRequest as problem:
            assert problem.code == "refused"
            assert "archive: " in problem.message
        else:
            assert name in ("absolute", "over a planted file's link"), "tar takes the slash away"
        assert await ada.out("ls -A /tmp/out; cat /tmp/out/secret") == "secret\nsecret\n"
        await nothing_aside(ada)
        await put(space, made(lambda tar: file(tar, "after")))


async def test_a_tar_that_is_not_kept_aside_goes_through_the_link(host: Host) -> None:
    """The control: the same archive by the same program, in the tree itself."""
    async with opened(host) as space:
        ada = Inside(space)
        await ada.out("mkdir /tmp/out; ln -s /tmp/out planted")
        ada.write("evil.tar", made(HOSTILE["through a planted link"]))
        await ada.out("tar -xf evil.tar")
        assert await ada.out("ls -A /tmp/out") == "x\n"


@pytest.mark.parametrize(
    ("data", "packed", "words"),
    [
        (b"this is no archive" * 100, False, "does not look like a tar archive"),
        (made(lambda tar: file(tar, "x", bytes(50_000)))[:20_000], False, "Unexpected EOF"),
        (made(lambda tar: file(tar, "x"))[:20_000], True, "not in gzip format"),
        (made(lambda tar: file(tar, "x", os.urandom(50_000)), "w:gz")[:20_000], True, "nexpected e"),
    ],
)
async def test_what_is_no_archive(host: Host, data: bytes, packed: bool, words: str) -> None:
    async with opened(host) as space:
        ada = Inside(space)
        with pytest.raises(BadRequest) as refused:
            await put(space, data, packed=packed)
        assert words in refused.value.message
        assert await ada.out("ls -A") == "", "nothing of it is there"


async def test_a_bomb_meets_the_trees_size(host: Host) -> None:
    async with opened(host, profiles={"space": {"work": 2 * 1024**2}}) as space:
        ada = Inside(space)
        bomb = made(lambda tar: file(tar, "zeros", bytes(20 * 1024**2)), "w:gz")
        assert len(bomb) < 100_000
        with pytest.raises(BadRequest, match=r"Wrote only|No space left"):
            await put(space, bomb, packed=True)
        assert await ada.out("ls -A") == ""
        ada.write("x", bytes(1024**2))
        assert await ada.out("ls") == "x\n", "there is room again"


async def test_many_entries(host: Host) -> None:
    async with opened(host) as space:
        ada = Inside(space)

        def make(tar: tarfile.TarFile) -> None:
            for number in range(5000):
                file(tar, f"d{number % 10}/{number}", b"")

        await put(space, made(make))
        assert await ada.out("find . -type f | wc -l") == "5000\n"
        assert len(await got(space)) == 5000


@pytest.mark.parametrize("path", ["link", "link/new", "nowhere/../.."])
async def test_a_path_that_leads_out(host: Host, path: str) -> None:
    async with opened(host) as space:
        ada = Inside(space)
        await ada.out("ln -s /tmp link; echo secret > /tmp/secret")
        with pytest.raises((InitRefused, BadRequest)):
            await put(space, made(lambda tar: file(tar, "x")), path)
        with pytest.raises((InitRefused, BadRequest)):
            await got(space, path)
        assert await ada.out("ls -A /tmp") == "secret\n"


async def test_who_leaves_ends_it(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(spaces, "TRANSFERS_MAX", 1)
    async with opened(host) as space:
        ada = Inside(space)
        await ada.out("head -c 3000000 /dev/urandom > big")
        came = trio.Event()

        async def endless() -> AsyncIterator[bytes]:
            yield made(lambda tar: file(tar, "x", bytes(100_000)))[:50_000]
            came.set()
            await trio.sleep_forever()

        async with trio.open_nursery() as nursery:
            nursery.start_soon(lambda: space.upload("", endless(), packed=False))
            await came.wait()
            with pytest.raises(Busy):
                await put(space, b"")
            nursery.cancel_scope.cancel()

        async def failing() -> AsyncIterator[bytes]:
            yield b""
            raise RunnerdError("gone")

        with pytest.raises(RunnerdError, match="gone"):
            await space.upload("", failing(), packed=False)
        async with space.download("", packed=False) as stream:
            assert await anext(stream)
        assert await ada.out("ls -A") == "big\n"
        assert await ada.out("pgrep -c tar || true") == "0\n"
