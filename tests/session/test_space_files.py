"""A space's files in a real box, attacks on them among these."""

import errno
import os
import stat
from collections.abc import Awaitable, Callable
from contextlib import suppress
from functools import partial

import pytest
import trio
import trio.lowlevel

from runnerd.errors import BadRequest, InitRefused, RunnerdError, TooLarge
from runnerd.sandbox.host import Host
from runnerd.session import workspace
from runnerd.session.members import Changed, Refused
from runnerd.session.space import Space
from runnerd.session.viewer import Ended
from runnerd.session.workspace import Workspace

from .spaces import Inside, opened

Attempt = Callable[[Workspace, str], Awaitable[object]]

ATTEMPTS: dict[str, Attempt] = {
    "project": lambda files, path: files.project((), {path: b"planted"}),
    "folder": lambda files, path: files.project((path,), {}),
    "create": lambda files, path: files.create(path, folder=False),
    "create folder": lambda files, path: files.create(path, folder=True),
    "rename": lambda files, path: files.rename(path, "renamed"),
    "delete": lambda files, path: files.delete(path),
    "read": lambda files, path: files.read(path),
    "list": lambda files, path: files.list(path),
}


async def written(files: Workspace, path: str, data: bytes) -> None:
    """Write a file, and wait for it. Raises what its writer is told."""
    told: list[RunnerdError | None] = []
    files.write(path, data, told.append)
    await files.settled()
    (problem,) = told
    if problem is not None:
        raise problem


def error_of(problem: BaseException) -> int:
    assert isinstance(problem, InitRefused), problem
    return problem.errno


async def test_the_steps(host: Host) -> None:
    async with opened(host) as space:
        ada, files = Inside(space), space.files
        await files.project(("p", "p/empty"), {"p/main.py": b"print('ran')", "p/deep/er/x": b"\0"})
        assert await ada.out("python p/main.py; ls -1F p") == "ran\ndeep/\nempty/\nmain.py\n"
        await files.create("p/new.py", folder=False)
        await files.create("p/sub/dir", folder=True)
        await written(files, "p/new.py", b"x = 1\n")
        assert await files.read("p/new.py") == b"x = 1\n"
        assert await files.rename("p/new.py", "core.py") == "p/core.py"
        assert await files.rename("p/sub", "bus") == "p/bus"
        assert await files.rename("p", "q") == "q"
        entries, more = await files.list("q")
        assert [(each.name, stat.S_ISDIR(each.mode)) for each in entries] == [
            ("bus", True),
            ("core.py", False),
            ("deep", True),
            ("empty", True),
            ("main.py", False),
        ]
        assert not more
        assert [each.name for each in (await files.list(""))[0]] == ["q"]
        await files.delete("q/core.py")
        await files.delete("q")
        assert await ada.out("ls") == ""


async def test_a_project_writes_over_and_deletes_nothing(host: Host) -> None:
    async with opened(host) as space:
        files = space.files
        await files.project(("p",), {"p/a": b"1", "p/b": b"1"})
        await files.project(("p",), {"p/a": b"2"})
        assert (await files.read("p/a"), await files.read("p/b")) == (b"2", b"1")


async def test_nothing_is_written_over_by_accident(host: Host) -> None:
    async with opened(host) as space:
        ada, files = Inside(space), space.files
        await written(files, "a", b"kept")
        await ada.out("mkdir d; mkfifo fifo; ln -s nowhere dangling")
        for name in ("a", "d", "fifo", "dangling"):
            await written(files, "b", b"")
            for attempt in (
                files.create(name, folder=False),
                files.create(name, folder=True),
                files.rename("b", name),
            ):
                with pytest.raises(BadRequest) as caught:
                    await attempt
                assert caught.value.code == "exists", name
        assert await files.rename("a", "a") == "a"
        assert await files.read("a") == b"kept"


async def test_a_burst_ends_with_its_last_text_which_a_command_sees(host: Host) -> None:
    async with opened(host) as space:
        ada, bob = Inside(space), Inside(space, "bob", host=False)
        for number in range(1000):
            (ada if number % 2 else bob).write("p/burst", b"%d" % number)
        assert await ada.out("cat p/burst") == "999"
        for number in range(20):
            ada.write(f"p/{number}", b"%d" % number)
        bob.write("p/burst", b"bob's")
        assert await bob.out("cat p/burst p/19; ls p | wc -l") == "bob's1921\n"
        await bob.hear(Changed)
        changes = [each for each in bob.heard if isinstance(each, Changed)]
        assert {each.who for each in changes} == {ada.member}, "nobody hears of what it did itself"


async def test_readers_see_the_old_text_or_the_new_one(host: Host) -> None:
    async with opened(host) as space:
        ada = Inside(space)
        texts = [letter * 1_000_000 for letter in (b"a", b"b")]
        await written(space.files, "text", texts[0])
        look = "for n in $(seq 40); do od -An -c text | tr -d ' *\\n' | fold -w1 | sort -u | wc -l; done | sort -u"
        seen = await ada.start(look)
        while space.run is not None:
            for text in texts:
                await written(space.files, "text", text)
            await trio.lowlevel.checkpoint()
        await seen.until(Ended)
        assert seen.stdout == b"1\n"


async def test_the_writer_is_told_what_went_wrong(host: Host) -> None:
    async with opened(host) as space:
        ada, bob = Inside(space), Inside(space, "bob", host=False)
        ada.write("file", b"x")
        bob.write("file/below", b"x")
        assert error_of((await bob.hear(Refused)).error) == errno.ENOTDIR
        assert await ada.out("cat file") == "x"


@pytest.mark.parametrize("name", ATTEMPTS)
async def test_links_that_lead_out_are_never_followed(host: Host, name: str) -> None:
    """The kernel refuses them (RESOLVE_BENEATH): what they lead to is there, and can be written by the box itself."""
    async with opened(host) as space:
        ada = Inside(space)
        plant = "mkdir /tmp/out; echo secret > /tmp/out/file; ln -s /tmp/out abs; ln -s ../tmp/out rel"
        await ada.out(f"{plant}; ln -s /tmp/out/file tofile; ln -s /proc/self/root magic")
        for path in ("abs/file", "rel/file", "abs/new", "magic/tmp/out/new"):
            with pytest.raises(InitRefused) as caught:
                await ATTEMPTS[name](space.files, path)
            assert caught.value.errno in (errno.EXDEV, errno.ELOOP), path
        assert await ada.out("ls -1 /tmp/out; cat /tmp/out/file") == "file\nsecret\n"
        assert await ada.out("echo > /tmp/out/new; cat abs/file; ls -1 /tmp/out") == "secret\nfile\nnew\n", (
            "the control"
        )


async def test_links_themselves_are_replaced_and_deleted(host: Host) -> None:
    async with opened(host) as space:
        ada, files = Inside(space), space.files
        await ada.out("mkdir /tmp/out; echo secret > /tmp/out/file; ln -s /tmp/out/file a; ln -s /tmp/out b; ln -s x c")
        for path in ("a", "b", "c"):
            with pytest.raises(InitRefused) as caught:
                await files.read(path)
            assert caught.value.errno in (errno.ELOOP, errno.EXDEV)
        await written(files, "a", b"mine")
        await written(files, "c", b"mine")
        await files.delete("b")
        assert await ada.out("cat a c /tmp/out/file; ls -1") == "minemine" + "secret\na\nc\n"


async def test_links_within_the_tree_are_followed_on_the_way(host: Host) -> None:
    async with opened(host) as space:
        ada = Inside(space)
        await ada.out("mkdir real; ln -s real link")
        await written(space.files, "link/x", b"1")
        assert await ada.out("cat real/x") == "1"


async def test_what_is_no_file(host: Host) -> None:
    async with opened(host) as space:
        ada, files = Inside(space), space.files
        await ada.out("mkfifo fifo; mkdir d; python -c \"import socket; socket.socket(1).bind('sock')\"")
        for path in ("fifo", "sock"):
            with trio.fail_after(5), pytest.raises(InitRefused):
                await files.read(path)
            with trio.fail_after(5), pytest.raises(InitRefused):
                await files.list(path)
        with pytest.raises(BadRequest, match="is a folder"):
            await files.read("d")
        assert (await ada.run("mknod null c 1 3"))[1].code != 0, "a box makes no devices"
        for path in ("fifo", "sock"):
            await written(files, path, b"a file now")
            assert await files.read(path) == b"a file now"
        with pytest.raises(InitRefused) as caught:
            await written(files, "d", b"")
        assert caught.value.errno == errno.EISDIR


@pytest.mark.parametrize("name", ATTEMPTS)
@pytest.mark.parametrize(
    "path", ["../x", "/work/x", "/etc/passwd", "a/../../x", "..", "n" * 256, "/".join(["n" * 250] * 20)]
)
async def test_the_box_refuses_what_an_adapter_let_through(host: Host, name: str, path: str) -> None:
    """Adapters refuse these paths; and so does init, whoever asks."""
    async with opened(host) as space:
        with pytest.raises((InitRefused, BadRequest)):
            await ATTEMPTS[name](space.files, path)
        assert {each.name for each in (await space.files.list(""))[0]} <= {"a"}, "a folder on the way may be made"


async def test_a_full_tree(host: Host) -> None:
    async with opened(host, profiles={"space": {"work": "1MiB"}}) as space:
        ada, files = Inside(space), space.files
        await written(files, "kept", b"old")
        for attempt in (
            written(files, "kept", b"x" * 2_000_000),
            files.project((), {"a": b"x" * 600_000, "b": b"x" * 600_000}),
            written(files, "many", b"x" * 600_000),
        ):
            with pytest.raises(InitRefused) as caught:
                await attempt
            assert caught.value.errno == errno.ENOSPC
            assert "No space left on device" in caught.value.message
        assert await files.read("kept") == b"old"
        assert not [name for name in (await ada.out("ls -A")).split() if name.endswith("~")], "nothing half written"
        await files.delete("a")
        await written(files, "kept", b"new")
        assert await ada.out("cat kept") == "new"


async def test_ten_thousand_files(host: Host) -> None:
    async with opened(host) as space:
        ada, files = Inside(space), space.files
        names = [f"p/{number:05}" for number in range(10_000)]
        await files.project(("p",), dict.fromkeys(names, b"x"))
        assert await ada.out("ls p | wc -l") == "10000\n"
        entries, more = await files.list("p")
        assert [f"p/{each.name}" for each in entries] == names
        assert not more
        await written(files, "p/one-more", b"")
        entries, more = await files.list("p")
        assert (len(entries), more) == (10_000, True)
        await files.delete("p")
        assert await ada.out("ls") == ""


async def test_large_files_and_many_of_them(host: Host) -> None:
    async with opened(host) as space:
        files = space.files
        large = os.urandom(workspace.READ_MAX)
        await written(files, "large", large)
        assert await files.read("large") == large
        await written(files, "large", large + b"x")
        with pytest.raises(TooLarge):
            await files.read("large")
        before = len(os.listdir("/proc/self/fd"))
        await files.project((), {f"p/{number}": large[:100_000] for number in range(200)})
        assert len(os.listdir("/proc/self/fd")) == before


async def test_a_folder_that_is_filled_as_it_is_deleted(host: Host) -> None:
    async with opened(host) as space:
        ada, files = Inside(space), space.files
        seen = await ada.start("mkdir d; echo go; i=0; while :; do : > d/$((i++)) 2>/dev/null || mkdir d; done")
        await seen.until_output(b"go")
        with trio.fail_after(30):
            try:
                await files.delete("d")
            except InitRefused as problem:
                assert problem.errno in (errno.ETIMEDOUT, errno.ENOENT)
        space.kill_program(ada.member)
        await seen.until(Ended)
        if (await files.list(""))[0]:
            await files.delete("d")
        assert (await files.list(""))[0] == []


async def test_names_that_are_no_text(host: Host) -> None:
    async with opened(host) as space:
        ada: Inside = Inside(space)
        await ada.out("touch $'\\xff\\xfe'; touch Aa aA")
        (entries, _) = await space.files.list("")
        assert [os.fsencode(each.name) for each in entries] == [b"Aa", b"aA", b"\xff\xfe"]


async def test_a_leaver_takes_no_text_of_others_along(host: Host) -> None:
    """Texts that wait are written by whoever comes next, who may be cancelled meanwhile."""
    async with opened(host) as space:
        ada = Inside(space)
        await _cancelled_list(space, ada)
        assert await ada.out("cat x") == "text"


async def _cancelled_list(space: Space, ada: Inside) -> None:
    ada.write("x", b"text")
    with trio.CancelScope() as scope:
        scope.cancel()
        await space.files.list("")
    assert scope.cancelled_caught


SWAP = """\
import itertools, os
os.mkdir("/tmp/out"); os.symlink("/tmp/out", "link"); os.mkdir("d")
print("go", flush=True)
for number in itertools.count():
    for step in (
        lambda: os.rename("d", f"old{number}"),
        lambda: os.symlink("/tmp/out", "d"),
        lambda: os.unlink("d"),
        lambda: os.mkdir("d"),
    ):
        try:
            step()
        except OSError:  # a member's write may have made the folder meanwhile
            pass
"""


async def test_a_program_that_swaps_a_folder_for_a_link_as_members_write(host: Host) -> None:
    """What holds it is init's way of opening; a program that opens by path is led astray by the same link."""
    async with opened(host) as space:
        ada, files = Inside(space), space.files
        await written(files, "swap.py", SWAP.encode())
        seen = await ada.start("python swap.py")
        await seen.until_output(b"go")
        done = refused = 0
        with trio.move_on_after(2):
            while done < 20_000:
                for attempt in (partial(written, files, "d/x", b"x"), partial(files.create, f"d/{done}", folder=False)):
                    try:
                        await attempt()
                        done += 1
                    except (InitRefused, BadRequest):
                        refused += 1
        assert done
        assert refused
        space.kill_program(ada.member)
        await seen.until(Ended)
        assert await ada.out("ls -A /tmp/out") == ""
        await ada.out("echo x > link/x")
        assert await ada.out("ls -A /tmp/out") == "x\n"


NAIVE = """\
import os, time
until = time.monotonic() + 10
while time.monotonic() < until and not os.path.exists("/tmp/out/naive"):
    try:
        with open("d/naive", "w") as file:
            file.write("x")
    except OSError:
        pass
"""


@pytest.mark.soak
async def test_half_a_minute_of_swaps(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    """All kinds of writes race the swaps and leave the tree never; then a program that opens by path races them, and
    does."""
    monkeypatch.setattr("tests.session.spaces.WITHIN", 60.0)
    async with opened(host, profiles={"space": {"work": 2 * 1024**3}}) as space:
        ada, files = Inside(space), space.files
        await written(files, "swap.py", SWAP.replace('f"old{number}"', '"old"').encode())
        await written(files, "leak.py", SWAP.encode())
        await written(files, "naive.py", NAIVE.encode())
        seen = await ada.start("exec python swap.py")
        await seen.until_output(b"go")
        done = refused = 0
        with trio.move_on_after(30):
            while True:
                for attempt in (
                    partial(written, files, "d/x", b"x"),
                    partial(files.create, f"d/{done}", folder=False),
                    partial(files.project, ("d/p",), {"d/p/y": b"y"}),
                    partial(files.rename, "d/x", "z"),
                    partial(files.delete, "d/p"),
                ):
                    try:
                        await attempt()
                        done += 1
                    except (InitRefused, BadRequest):
                        refused += 1
                with suppress(InitRefused):
                    await files.delete("old")
        assert done > 1000
        assert refused > 100
        space.kill_program(ada.member)
        await seen.until(Ended)
        assert await ada.out("ls -A /tmp/out") == ""
        await ada.out("rm -rf d old link /tmp/out; python leak.py > /dev/null & python naive.py; kill $!")
        assert await ada.out("ls -A /tmp/out") == "naive\n"
