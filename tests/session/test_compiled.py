"""What compiling made, kept for the next run of the same: in real boxes, from the registry on."""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import trio
from msgspec.structs import replace

from runnerd import toolchains
from runnerd.config import Cache as Settings
from runnerd.config import Config
from runnerd.config import Pool as PoolSettings
from runnerd.sandbox.box import Box, open_box
from runnerd.sandbox.host import Host
from runnerd.sandbox.pool import Pool
from runnerd.sandbox.process import Process
from runnerd.sandbox.spec import Launch, Limits, Mode, Outcome, Window
from runnerd.session.compiled import made_by, take
from runnerd.session.output import Chunk
from runnerd.session.registry import Registry
from runnerd.session.run import Run
from runnerd.session.viewer import Ended
from runnerd.toolchains import Toolchains

LANGUAGES = toolchains.load()
PATIENCE = 60.0
HELLO = b'#include <stdio.h>\nint main(void) { puts("hello"); return 3; }\n'
WARNS = b'#include <stdio.h>\nint main(void) { int unused; puts("hello"); return 3; }\n'


@pytest.fixture
def own(host: Host, tmp_path: Path) -> Host:
    """A host with a state folder of the test's own."""
    return replace(host, state=tmp_path)


@asynccontextmanager
async def registering(host: Host, languages: Toolchains = LANGUAGES, **settings: Any) -> AsyncGenerator[Registry]:
    """At its end all that is to be kept is."""
    with trio.fail_after(PATIENCE):
        async with trio.open_nursery() as nursery:
            yield Registry(host, languages, Config(cache=Settings(**settings)), nursery)


def c(code: bytes = HELLO, mode: Mode = "pipes", **fields: Any) -> Run:
    return Run("c", {"": code}, mode=mode, **fields)


async def finish(registry: Registry, run: Run, owner: str | None = "one") -> tuple[Ended, list[tuple[str, bytes]]]:
    """Its end, and all that it wrote, in order."""
    viewer = (await registry.start(run, owner=owner)).viewer()
    written: list[tuple[str, bytes]] = []
    while not isinstance(event := await viewer.next(), Ended):
        if isinstance(event, Chunk):
            if written and written[-1][0] == event.channel:
                written[-1] = event.channel, written[-1][1] + event.data
            else:
                written.append((event.channel, event.data))
    return event, written


async def twice(
    host: Host,
    first: Run,
    second: Run | None = None,
    owners: tuple[str | None, str | None] = ("one", "one"),
    **more: Any,
) -> bool:
    """Whether the second run was spared its compile step. Both must do the same if they are the same."""
    async with registering(host, **more) as registry:
        ended, written = await finish(registry, first, owners[0])
        assert "compile" in ended.timings
    async with registering(host, **more) as registry:
        again, rewritten = await finish(registry, second or first, owners[1])
    if second is None:
        assert (again.outcome, again.code, rewritten) == (ended.outcome, ended.code, written)
    return "compile" not in again.timings


@pytest.mark.parametrize("mode", ["pipes", "split", "terminal"])
async def test_the_same_again_is_spared_and_a_warning_told_again(own: Host, mode: Mode) -> None:
    assert await twice(own, c(WARNS, mode))
    async with registering(own) as registry:
        ended, written = await finish(registry, c(WARNS, mode))
        assert (ended.outcome, ended.code) == (Outcome.EXITED, 3)
        assert b"unused variable" in written[0][1]
        assert written[-1][1].endswith(b"hello\n" if mode != "terminal" else b"hello\r\n")
        assert (registry.status().spared, registry.status().compiled) == (1, 0)


async def test_what_is_typed_early_reaches_a_program_that_was_spared(own: Host) -> None:
    run = c(b"#include <stdio.h>\nint main(void) { char b[9]; puts(fgets(b, 9, stdin)); }", stdin=b"Ada\n")
    assert await twice(own, run)


async def test_several_files_and_a_header_that_changes(own: Host) -> None:
    files = {"main.c": b'#include "lib/h.h"\nint main(void) { return N; }', "lib/h.h": b"#define N 3\n"}
    run = Run("c", files, mode="pipes")
    assert await twice(own, run)
    async with registering(own) as registry:
        changed = replace(run, files={**files, "lib/h.h": b"#define N 4\n"})
        assert (await finish(registry, changed))[0].code == 4
        moved = replace(run, files={**files, "h.h": b""})
        assert "compile" in (await finish(registry, moved))[0].timings


@pytest.mark.parametrize(
    "other",
    [
        c(HELLO + b"\n"),
        c(HELLO, "split"),
        c(HELLO, env={"CPATH": "/work"}),
        Run("c", {"other.c": HELLO}, mode="pipes"),
        Run("cpp", {"main.c": HELLO}, mode="pipes"),
    ],
)
async def test_what_differs_is_compiled(own: Host, other: Run) -> None:
    assert not await twice(own, c(), other)


async def test_two_names_of_one_file(own: Host) -> None:
    one, other = b"int main(void) { return 1; }", b"int main(void) { return 2; }"
    async with registering(own) as registry:
        for first, second, code in ((one, other, 2), (other, one, 1)):
            run = Run("c", {"main.c": first, "./main.c": second}, main="main.c", mode="pipes")
            assert (await finish(registry, run))[0].code == code
    for files, code in (({"main.c": one, "./main.c": other}, 2), ({"./main.c": other, "main.c": one}, 1)):
        async with registering(own) as registry:
            assert (await finish(registry, Run("c", files, main="main.c", mode="pipes")))[0].code == code


async def test_the_program_s_own_input_is_no_input_of_the_compiler(own: Host) -> None:
    assert await twice(own, c(), c(args=("a",), stdin=b"text", limits={"wall": 5.0}, window=Window(9, 9)))


async def test_each_profile_has_a_place_for_it(own: Host) -> None:
    """Where /tmp holds the work tree as well, which is another folder to compile in."""
    for expected in (("compile", "program"), ("program",)):
        for profile in ("default", "widget"):
            async with registering(own) as registry:
                viewer = (await registry.start(c(), profile=profile, owner="one")).viewer()
                while not isinstance(event := await viewer.next(), Ended):
                    pass
                assert event.code == 3
                assert tuple(name for name in event.timings if name in ("compile", "program")) == expected


async def test_nobody_gets_what_another_owner_compiled(own: Host) -> None:
    assert not await twice(own, c(), owners=("one", "two"))
    assert not await twice(own, c(b"int main(void) { return 0; }"), owners=(None, None))


async def test_all_may_get_it_where_that_is_configured(own: Host) -> None:
    assert await twice(own, c(), owners=("one", None), shared=True)
    # What was kept for all is not what a key has of its own, and the other way round.
    async with registering(own) as registry:
        assert "compile" in (await finish(registry, c(), "one"))[0].timings


async def test_nothing_is_kept_where_that_is_off(own: Host) -> None:
    assert not await twice(own, c(), size=0)
    assert not await twice(own, c(b"int main(void) { return sizeof __TIME__ == 0; }"))
    assert own.state is not None
    assert not list(own.state.rglob("compiled/*"))


async def test_what_does_not_compile_is_compiled_again(own: Host) -> None:
    assert not await twice(own, c(b"int main(void) { return x; }"))


async def test_another_compiler_is_another_matter(own: Host, tmp_path: Path) -> None:
    compiler = tmp_path / "cc1"
    compiler.write_text("1")
    language = LANGUAGES.get("c")
    assert language.compiled is not None
    watching = replace(language, compiled=toolchains.Compiled(language.compiled.products, (str(tmp_path / "c*1"),)))
    languages = Toolchains({**LANGUAGES.by_id, "c": watching}, {"c": "c"})
    assert await twice(own, c(), languages=languages)
    compiler.write_text("22")
    async with registering(own, languages) as registry:
        assert "compile" in (await finish(registry, c()))[0].timings


def test_a_compiler_that_is_shown_from_elsewhere_is_watched_there(tmp_path: Path) -> None:
    compiled = toolchains.Compiled(("/tmp/program",))
    needs = (toolchains.Need("/opt/cc/bin/cc", "cc"),)
    language = replace(LANGUAGES.get("c"), binds=((str(tmp_path), "/opt/cc"),), needs=needs)
    seen = [made_by(language, compiled, ())]
    (tmp_path / "bin").mkdir()
    for text in ("1", "22"):
        (tmp_path / "bin/cc").write_text(text)
        seen.append(made_by(language, compiled, ()))
    seen.append(made_by(language, compiled, (("/state/prepared/cc-1", "/opt/prepared"),)))
    assert all(one != other for at, one in enumerate(seen) for other in seen[:at])


async def test_a_damaged_file_is_compiled_again(own: Host) -> None:
    assert await twice(own, c())
    assert own.state is not None
    (kept,) = (own.state / "cache/compiled").iterdir()
    data = bytearray(kept.read_bytes())
    data[-100] ^= 1
    kept.write_bytes(data)
    async with registering(own) as registry:
        ended, _ = await finish(registry, c())
    assert (ended.code, "compile" in ended.timings) == (3, True)
    assert kept.exists()  # kept anew


async def test_many_at_a_time(own: Host) -> None:
    async with registering(own) as registry, trio.open_nursery() as nursery:

        async def one(number: int) -> None:
            ended, written = await finish(registry, c(HELLO + bytes([10]) * (number % 2)))
            assert (ended.code, written) == (3, [("stdout", b"hello\n")])

        for number in range(6):
            nursery.start_soon(one, number)
    async with registering(own) as registry:
        assert "compile" not in (await finish(registry, c()))[0].timings


async def test_in_a_box_that_had_waited_or_broke_meanwhile(own: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    """A run that finds a dead box goes on in another; what the compiler wrote is told once."""
    assert await twice(own, c(WARNS))
    config, start = Config(pool=PoolSettings(ahead=(), ceiling=1)), Box.start
    with trio.fail_after(PATIENCE):
        async with trio.open_nursery() as nursery:
            pool = Pool(own, config.pool)
            nursery.start_soon(pool.run)
            registry = Registry(own, LANGUAGES, config, nursery, pool=pool)
            _, expected = await finish(registry, c(WARNS))
            for broken in (False, True):
                while not any(stock.idle for stock in pool.stocks()):
                    await trio.sleep(0.01)
                hits = sum(stock.hits for stock in pool.stocks())
                if broken:  # once it has been found fit

                    async def end_first(box: Box, *more: Any, **options: Any) -> Process:
                        monkeypatch.setattr(Box, "start", start)
                        box.kill()
                        return await start(box, *more, **options)

                    monkeypatch.setattr(Box, "start", end_first)
                ended, written = await finish(registry, c(WARNS))
                assert (ended.code, written, "compile" in ended.timings) == (3, expected, False)
                assert sum(stock.hits for stock in pool.stocks()) == hits + 1
            assert registry.status().spared == 4  # it was looked for anew in the second box
            nursery.cancel_scope.cancel()


async def test_a_program_cannot_change_what_is_kept(own: Host) -> None:
    """It is read before the program starts."""
    code = (
        b"#include <stdio.h>\n#include <unistd.h>\n"
        b'int main(void) { FILE *f = fopen("/tmp/new", "w"); fputs("#!/bin/sh\\necho bad", f); fclose(f);\n'
        b'  rename("/tmp/new", "/tmp/program"); puts("good"); return 0; }'
    )
    assert await twice(own, c(code))


async def test_classes_of_java(own: Host) -> None:
    if LANGUAGES.missing(LANGUAGES.get("java")):
        pytest.skip("no Java")
    code = (
        b"public class Main { interface I { int f(); }\n"
        b"  public static void main(String[] a) { I i = () -> 3; System.out.println(i.f()); new p.Other(); } }"
    )
    files = {"Main.java": code, "p/Other.java": b"package p; public class Other {}"}
    assert await twice(own, Run("java", files, main="Main.java", mode="pipes"))


async def test_a_compiler_that_waits_in_the_box_is_gone_when_it_was_spared(own: Host) -> None:
    """What the program sees of the box is what it sees after a compilation."""
    if LANGUAGES.missing(LANGUAGES.get("java")):
        pytest.skip("no Java")
    code = (
        b"import java.io.File;\npublic class Main { public static void main(String[] a) {\n"
        b'  System.out.println(new File("/proc").list((d, n) -> Character.isDigit(n.charAt(0))).length); } }'
    )
    config, run = Config(pool=PoolSettings(ahead=(), ceiling=1)), Run("java", {"": code}, mode="pipes")
    with trio.fail_after(PATIENCE):
        async with trio.open_nursery() as nursery:
            pool = Pool(own, config.pool)
            nursery.start_soon(pool.run)
            registry = Registry(own, LANGUAGES, config, nursery, pool=pool)
            ended, cold = await finish(registry, run)
            assert "compile" in ended.timings
            while not any(stock.idle for stock in pool.stocks()):
                await trio.sleep(0.01)
            ended, warm = await finish(registry, run)
            assert "compile" not in ended.timings
            assert sum(stock.hits for stock in pool.stocks()) == 1
            assert warm == cold == [("stdout", b"3\n")]
            nursery.cancel_scope.cancel()


async def test_a_product_that_does_not_fit_is_compiled(own: Host) -> None:
    big = c(b"char big[6 << 20] = {1}; int main(void) { return 5; }")
    assert await twice(own, big)
    async with registering(own) as registry:
        ended, _ = await finish(registry, replace(big, limits={"tmp": 4 << 20}))
    assert ended.outcome is Outcome.COMPILE_ERROR


@pytest.mark.parametrize(
    ("script", "count"),
    [
        ("mkdir -p /tmp/p/a/b; echo 1 > /tmp/p/a/b/c; echo 2 > /tmp/p/d; chmod 755 /tmp/p/d", 2),
        ("echo 1 > /tmp/p", 1),
        ("true", None),
        ("ln -s /etc/passwd /tmp/p", None),
        ("mkdir /tmp/p; ln -s /etc/passwd /tmp/p/x", None),
        ("mkfifo /tmp/p", None),
        ("mkdir /tmp/p; touch /tmp/p/$(printf '\\377')", None),
        ("mkdir -p /tmp/p/1/2/3/4/5/6/7/8/9/10/11/12/13/14/15/16/17/18", None),
        ("mkdir /tmp/p; cd /tmp/p; seq 1100 | xargs touch", None),
        ("truncate -s 9M /tmp/p", None),
        ("mkdir /tmp/p; truncate -s 5M /tmp/p/1 /tmp/p/2", None),
    ],
)
async def test_what_is_taken_out_of_a_box(host: Host, script: str, count: int | None) -> None:
    async with open_box(host, host.spec(Limits())) as box:
        process = await box.start(Launch(("sh", "-c", script), {"PATH": "/usr/bin"}, "pipes"))
        await process.exited.wait()
        process.close()
        taken = await take(box, ("/tmp/p",))
    assert (None if taken is None else len(taken)) == count
    if count == 2:
        assert taken is not None
        assert [(one.path, one.mode, one.data) for one in taken] == [
            ("/tmp/p/a/b/c", 0o644, b"1\n"),
            ("/tmp/p/d", 0o755, b"2\n"),
        ]
