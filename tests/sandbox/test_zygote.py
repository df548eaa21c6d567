"""Programs that are started ahead and wait, in real boxes."""

from collections.abc import Mapping

import pytest
import trio

from runnerd import toolchains
from runnerd.errors import BoxError, InitRefused
from runnerd.sandbox import zygote as module
from runnerd.sandbox.box import Box, open_box
from runnerd.sandbox.host import Host
from runnerd.sandbox.spec import Launch, Limits, Mode
from runnerd.sandbox.zygote import fits
from runnerd.session.kinds import launches
from runnerd.session.run import Run

from .running import ENV, finish

WAITING = {"PYTHONPATH": "/opt/runnerd/support/python-zygote"}
PYTHON = Launch(("python3", "main.py"), {**ENV, **WAITING}, "pipes")
READER = (
    "import os; os.write(60, b'1'); words = os.read(60, 1 << 18)\n"
    "if not words: os._exit(0)\n"
    "os.write(60, b'1')\n"
    "os.close(60); print(words.decode().split(chr(0)), sorted(os.listdir('/proc/self/fd')))"
)
PLAIN = Launch(("python3", "-c", READER), ENV, "pipes")


async def ran(box: Box, launch: Launch, *args: str, env: Mapping[str, str] | None = None) -> tuple[str, str]:
    waiting = await box.prepare(launch)
    assert waiting.waits()
    waiting.go(args, env or {})
    try:
        return await finish(waiting.process)
    finally:
        waiting.close()
        assert waiting.went()


async def test_it_is_told_its_arguments_and_variables_and_keeps_no_descriptor(host: Host) -> None:
    async with open_box(host, host.spec(Limits())) as box:
        out, err = await ran(box, PLAIN, "a", "", "b c", env={"NAME": "x=y", "OTHER": "ü"})
    assert (out, err) == ("['3', 'a', '', 'b c', 'NAME=x=y', 'OTHER=ü', ''] ['0', '1', '2', '3']\n", "")


async def test_python_waits_before_it_opens_its_file(host: Host) -> None:
    async with open_box(host, host.spec(Limits())) as box:
        waiting = await box.prepare(PYTHON)
        code = "import os, sys; print(sys.argv, sys.orig_argv, os.environ['A'], 'PYTHONPATH' in os.environ)"
        await box.write_all({"main.py": code.encode()})
        waiting.go(["one"], {"A": "b"})
        assert (await finish(waiting.process))[0] == "['main.py', 'one'] ['python3', 'main.py', 'one'] b False\n"
        waiting.close()


async def test_one_that_is_not_needed_ends_without_a_word(host: Host) -> None:
    languages = toolchains.load()
    java, binds = languages.get("java"), languages.get("javascript").binds
    async with open_box(host, host.spec(Limits(**{**java.raises, "memory": 2**30}), binds=binds)) as box:
        for launch in [
            launch
            for language in ("python", "javascript", "java")
            for _, launch in launches(languages.get(language), Run(language, {"": b""}, mode="pipes"), "/work")
        ]:
            waiting = await box.prepare(launch)
            waiting.close()
            assert await finish(waiting.process) == ("", "")
            assert waiting.process.exit is not None
            assert waiting.process.exit.code == 0


async def test_one_that_ends_instead_of_waiting_is_an_error(host: Host) -> None:
    async with open_box(host, host.spec(Limits())) as box:
        with pytest.raises(BoxError, match="true ended, and should wait"):
            await box.prepare(Launch(("true",), ENV, "pipes"))
        with pytest.raises(InitRefused):
            await box.prepare(Launch(("no-such-program",), ENV, "pipes"))


async def test_one_that_does_not_come_to_wait_is_an_error(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "WAIT_SECONDS", 0.05)
    async with open_box(host, host.spec(Limits())) as box:
        with pytest.raises(BoxError, match="does not wait to be used"):
            await box.prepare(Launch(("sleep", "60"), ENV, "pipes"))


async def test_one_that_died_does_not_wait_and_cannot_go(host: Host) -> None:
    async with open_box(host, host.spec(Limits())) as box:
        waiting = await box.prepare(PYTHON)
        await box.signal(waiting.process, 9)
        await waiting.process.exited.wait()
        assert not waiting.waits()
        assert not waiting.go([], {})
        waiting.close()


async def test_one_that_is_killed_before_it_has_gone_on_is_known(host: Host) -> None:
    async with open_box(host, host.spec(Limits())) as box:
        waiting = await box.prepare(PYTHON)
        await box.signal(waiting.process, 19)
        waiting.go([], {})
        await box.signal(waiting.process, 9)
        await waiting.process.exited.wait()
        assert not waiting.went()
        waiting.close()


async def test_it_is_seen_to_be_gone_before_init_tells(host: Host) -> None:
    async with open_box(host, host.spec(Limits())) as box:
        waiting = await box.prepare(PYTHON)
        # Its socket ends with it, which needs no turn of this event loop.
        await box.signal(waiting.process, 9)
        with trio.fail_after(10):
            await trio.lowlevel.wait_readable(waiting._socket)  # pyright: ignore[reportPrivateUsage]
        assert not waiting.waits()
        waiting.close()


async def test_two_have_nothing_in_common(host: Host) -> None:
    code = b"import random; print(hash('x'), random.random())"
    async with open_box(host, host.spec(Limits())) as box:
        both = [await box.prepare(PYTHON) for _ in range(2)]
        await box.write("main.py", code)
        told: list[str] = []
        for waiting in both:
            waiting.go([], {})
            told += (await finish(waiting.process))[0].split()
            waiting.close()
    assert len(set(told)) == 4


@pytest.mark.parametrize("mode", ["terminal", "split", "pipes"])
async def test_the_largest_message_arrives_whole(host: Host, mode: Mode) -> None:
    words = ["x" * 1000] * 120
    assert fits(words, {"A": "b"})
    assert not fits(words * 2, {})
    async with open_box(host, host.spec(Limits())) as box:
        waiting = await box.prepare(Launch(PYTHON.argv, PYTHON.env, mode))
        await box.write("main.py", b"import sys; print(len(sys.argv), sum(map(len, sys.argv)))")
        waiting.go(words, {"A": "b"})
        assert (await finish(waiting.process))[0].strip() == f"121 {120_000 + len('main.py')}"
        waiting.close()


@pytest.mark.parametrize("content", [b"", b"print('hello')", b"print('\xc3\xbc', '''\0'''[0:0])".replace(b"\0", b" ")])
async def test_one_that_writes_its_file_is_brought_it(host: Host, content: bytes) -> None:
    async with open_box(host, host.spec(Limits())) as box:
        waiting = await box.prepare(PYTHON)
        assert waiting.writes({"main.py": content})
        assert not waiting.writes({"main.py": content, "other.py": b""})
        assert not waiting.writes({"main.py": b"#" * 100_000})
        waiting.go(["a", ""], {"A": "b"}, ("main.py", content + b"\nimport os, sys; print(sys.argv, os.environ['A'])"))
        out, err = await finish(waiting.process)
        assert (out.splitlines()[-1], err) == ("['main.py', 'a', ''] b", "")
        (entry,) = [entry for entry in await box.list() if entry.name == "main.py"]
        assert entry.mode & 0o7777 == 0o644
        waiting.close()


async def test_one_that_does_not_write_says_so(host: Host) -> None:
    async with open_box(host, host.spec(Limits())) as box:
        waiting = await box.prepare(PLAIN)
        assert not waiting.writes({"main.py": b""})
        waiting.close()
