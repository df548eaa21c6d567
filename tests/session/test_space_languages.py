"""A space does not know what will run in it, so its limits are such that every toolchain can: none need be raised."""

import pytest

from runnerd import profiles, toolchains
from runnerd.config import parse
from runnerd.sandbox.host import Host

from .spaces import LANGUAGES, Inside, opened

MAIN = 'public class Main { public static void main(String[] args) { System.out.println("ran " + args.length); } }'


def test_no_toolchain_needs_more_than_a_space_has() -> None:
    assert "space" in profiles.BUILTIN_PROFILES
    space = parse({}).profiles["space"]
    for toolchain in toolchains.load().all():
        for name, least in toolchain.raises.items():
            assert getattr(space, name) >= least, (toolchain.id, name)


async def test_java_runs_by_shell(host: Host) -> None:
    if LANGUAGES.missing(LANGUAGES.get("java")):
        pytest.skip("no Java on this host")
    async with opened(host) as space:
        ada = Inside(space)
        ada.write("Main.java", MAIN.encode())
        assert await ada.out("java Main.java a b") == "ran 2\n"


async def test_go_runs_by_shell(host: Host) -> None:
    if LANGUAGES.missing(LANGUAGES.get("go")):
        pytest.skip("no Go on this host")
    async with opened(host) as space:
        assert (await Inside(space).out("go version")).startswith("go version go")
