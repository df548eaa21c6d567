"""What the tests of spaces share: a space in a real box, and members who keep what they are told."""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any

import trio

from runnerd import toolchains
from runnerd.config import Config, parse
from runnerd.sandbox.host import Host
from runnerd.session.members import News
from runnerd.session.registry import Registry
from runnerd.session.space import Space
from runnerd.session.viewer import Ended

from .test_session_real import Watching

LANGUAGES = toolchains.load()
WITHIN = 30.0


class Inside:
    """A member of a space."""

    def __init__(self, space: Space, name: str = "ada", *, host: bool = True) -> None:
        self.space = space
        self.member = space.join(name, "#fff", host=host)
        self.heard: list[News] = []

    async def hear(self, kind: type[News]) -> Any:
        """The next news of this kind; all are kept."""
        while True:
            for news in await self.member.news():
                self.heard.append(news)
                if isinstance(news, kind):
                    return news

    async def start(self, command: str) -> Watching:
        await self.space.shell(self.member, command)
        assert self.space.run is not None
        return Watching(self.space.run.viewer())

    async def run(self, command: str) -> tuple[str, Ended]:
        """All that a command writes, and its end."""
        seen = await self.start(command)
        last = await seen.until(Ended)
        seen.viewer.close()
        return seen.stdout.decode(errors="replace"), last

    async def out(self, command: str) -> str:
        out, last = await self.run(command)
        assert last.code == 0, (out, last)
        return out

    def write(self, path: str, data: bytes) -> None:
        self.space.write(self.member, path, data)


@asynccontextmanager
async def opened(host: Host, **settings: Any) -> AsyncGenerator[Space]:
    """A space in a real box. `settings` are the configuration's tables, by their names."""
    with trio.fail_after(WITHIN):
        async with trio.open_nursery() as nursery:
            config: Config = parse(settings)
            registry = Registry(host, LANGUAGES, config, nursery)
            space = await registry.open_space(registry.new_id(), profile="space", owner=None)
            yield space
            space.kill("the test is over")
            await space.over.wait()
            while registry.status().boxes:
                await trio.sleep(0.01)
