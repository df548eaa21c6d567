"""What the tests of kernels share."""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any

import trio

from runnerd import toolchains
from runnerd.config import Config
from runnerd.sandbox.host import Host
from runnerd.session.kernel import Kernels
from runnerd.session.registry import Registry
from runnerd.session.run import Run
from runnerd.session.session import Session
from runnerd.session.viewer import Ended

from .test_session_real import PATIENCE, Watching

LANGUAGES = toolchains.load()


class Client:
    """One connection's kernels, and what it runs in them."""

    def __init__(self, registry: Registry, language: str) -> None:
        self.registry, self.language = registry, language
        self.kernels = Kernels()

    async def begin(self, code: str | bytes, **fields: Any) -> tuple[Session, Watching]:
        source = code.encode() if isinstance(code, str) else code
        others: dict[str, Any] = {"mode": "split"} | fields
        run = Run(others.pop("language", self.language), {"": source} | others.pop("files", {}), **others)
        session = await self.registry.start(run, kernels=self.kernels)
        return session, Watching(session.viewer())

    async def run(self, code: str | bytes, **fields: Any) -> tuple[Watching, Ended]:
        _, seen = await self.begin(code, **fields)
        return seen, await seen.until(Ended)

    async def out(self, code: str | bytes, **fields: Any) -> str:
        """What a run that ends well writes to stdout."""
        seen, last = await self.run(code, **fields)
        assert (last.outcome, last.code, seen.stderr) == ("exited", 0, b""), (last, seen.stderr.decode())
        return seen.stdout.decode()


@asynccontextmanager
async def registering(host: Host, config: Config | None = None) -> AsyncGenerator[Registry]:
    with trio.fail_after(PATIENCE):
        async with trio.open_nursery() as nursery:
            registry = Registry(host, LANGUAGES, config or Config(), nursery)
            yield registry
            nursery.cancel_scope.cancel()


@asynccontextmanager
async def client(host: Host, language: str, config: Config | None = None) -> AsyncGenerator[Client]:
    async with registering(host, config) as registry:
        one = Client(registry, language)
        yield one
        one.kernels.close()


async def until_empty(registry: Registry) -> None:
    """Wait until no box is left."""
    with trio.fail_after(PATIENCE):
        while registry.status().boxes:
            await trio.sleep(0.01)
