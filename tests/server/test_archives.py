"""Archives of a space over HTTP. The space is a fake; what tar does is tested with spaces."""

from collections.abc import AsyncGenerator, AsyncIterable, AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import trio
from test_http import browsing, check_error

from runnerd.errors import BadRequest, NotFound
from runnerd.server import archives

KEY = {"Authorization": "Bearer n1-key"}


class FakeSpace:
    def __init__(self) -> None:
        self.uploads: list[tuple[str, bytes, bool]] = []
        self.problem: BadRequest | None = None

    async def upload(self, path: str, data: AsyncIterable[bytes], *, packed: bool) -> None:
        self.uploads.append((path, b"".join([part async for part in data]), packed))

    @asynccontextmanager
    async def download(self, path: str, *, packed: bool) -> AsyncGenerator[AsyncIterator[bytes]]:
        async def parts() -> AsyncIterator[bytes]:
            if self.problem is not None:
                raise self.problem
            yield f"{path} {packed}".encode()
            yield b" end"

        yield parts()


@asynccontextmanager
async def serving(space: Any) -> AsyncGenerator[Any]:
    def find(key: str) -> Any:
        if key != "n1-key":
            raise NotFound("the join key opens no space")
        return space

    async with browsing(find_space=find, body_size=1000) as client:
        yield client


async def test_archives_come_and_go_by_the_join_key() -> None:
    space = FakeSpace()
    async with serving(space) as client:
        body = bytes(5000)
        put = await client.put(archives.PATH, params={"path": "a//b/"}, content=body, headers=KEY)
        assert (put.status_code, space.uploads) == (204, [("a/b", body, False)]), "longer than other bodies may be"
        gzip = {**KEY, "Content-Type": "application/gzip"}
        assert (await client.put(archives.PATH, content=b"x", headers=gzip)).status_code == 204
        assert space.uploads[1:] == [("", b"x", True)]
        got = await client.get(archives.PATH, params={"path": "a"}, headers={**KEY, "Accept": "application/gzip"})
        assert (got.text, got.headers["content-type"]) == ("a True end", "application/gzip")
        got = await client.get(archives.PATH, headers=KEY)
        assert (got.text, got.headers["content-type"]) == (" False end", "application/x-tar")


async def test_what_is_refused() -> None:
    space = FakeSpace()
    async with serving(space) as client:
        check_error(await client.get(archives.PATH), 401, "unauthorized")
        check_error(await client.get(archives.PATH, headers={"Authorization": "Bearer other"}), 404, "not_found")
        for path in ("/etc", "../x", "a\0b", "n" * 256):
            check_error(await client.put(archives.PATH, params={"path": path}, headers=KEY), 400, "bad_request")
        space.problem = BadRequest("tar: no", code="refused")
        check_error(await client.get(archives.PATH, headers=KEY), 400, "refused")
    assert not space.uploads


async def test_who_sends_no_more(autojump_clock: trio.testing.MockClock) -> None:
    space = FakeSpace()

    async def slow() -> AsyncIterator[bytes]:
        yield b"begun"
        await trio.sleep(archives.SILENCE + 1)
        yield b"too late"

    async with serving(space) as client:
        check_error(await client.put(archives.PATH, content=slow(), headers=KEY), 400, "client_gone")
    assert not space.uploads
