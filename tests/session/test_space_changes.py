"""What members hear of changes that programs make, from a real box and a real kernel; and whose changes are news."""

import os
from pathlib import Path
from typing import Any

import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st

from runnerd.sandbox import inotify
from runnerd.sandbox.host import Host
from runnerd.session import observer
from runnerd.session.changes import BATCH_MAX, Batch, Mine, Told
from runnerd.session.members import Changed, Missed, Warned
from runnerd.session.space import Space

from .spaces import Inside, opened

Change = tuple[str, str, str | None]


async def told(ada: Inside, last: str) -> list[Change]:
    """Changes that she hears of up to a batch with the one of path `last`; none of them is by a member."""
    heard: list[Change] = []
    while last not in {path for _, path, _ in heard}:
        for news in await ada.member.news():
            ada.heard.append(news)
            if isinstance(news, Changed):
                assert news.who is None, news
                heard.append((news.change, news.path, news.to))
    return heard


async def seen(space: Space) -> None:
    """Wait until the tree is watched."""
    while not len(watches(space)):
        await trio.sleep(0.01)


def watches(space: Space) -> Any:
    found = space._watches  # pyright: ignore[reportPrivateUsage]
    assert found is not None
    return found


async def test_members_hear_what_programs_change(host: Host) -> None:
    async with opened(host) as space:
        ada, bob = Inside(space), Inside(space, "bob", host=False)
        await seen(space)
        await ada.out("echo a > a; mkdir -p d/e; echo x > d/e/x; touch empty; echo gone > gone; rm gone; touch end1")
        heard = await told(ada, "end1")
        assert set(heard) >= {("write", "a", None), ("create", "d", None), ("write", "end1", None)}
        assert {path for _, path, _ in heard} == {"a", "d", "d/e", "d/e/x", "empty", "end1"}
        await ada.out("mv d f; echo y >> f/e/x; rm empty; echo new > .t; mv .t a; touch end2")
        heard = [change for change in await told(ada, "end2") if change[1] != ".t"]
        assert heard == [
            ("rename", "d", "f"),
            ("write", "f/e/x", None),
            ("delete", "empty", None),
            ("write", "a", None),
            ("write", "end2", None),
        ]
        assert {each.path for each in (await bob.member.news()) if isinstance(each, Changed)} >= {"a", "f/e/x", "end2"}


async def test_what_a_member_does_is_told_once_and_by_name(host: Host) -> None:
    async with opened(host) as space:
        ada, files = Inside(space), space.files
        await seen(space)
        await files.project(("p", "p/empty"), {"p/main.py": b"", "p/q/r/s": b"x"})
        await files.create("p/new", folder=False)
        ada.write("deep/er/x", b"text")
        await files.rename("p/q", "t")
        await files.rename("p", "u")
        await files.delete("u/t")
        ada.write("deep/er/x", b"more")
        await files.settled()
        await ada.out("touch end")
        assert await told(ada, "end") == [("write", "end", None)]
        await ada.out("echo program > u/t; touch deep/er/y end2")
        assert await told(ada, "end2") == [
            ("write", "u/t", None),
            ("write", "deep/er/y", None),
            ("write", "end2", None),
        ]


async def test_what_comes_at_the_same_time_is_told(host: Host) -> None:
    """A program that writes over what a member has just written."""
    async with opened(host) as space:
        ada = Inside(space)
        await seen(space)
        ada.write("x", b"mine")
        await ada.out("echo theirs > x; touch end")
        assert ("write", "x", None) in await told(ada, "end")


async def test_more_than_can_be_told_is_missed(host: Host) -> None:
    async with opened(host) as space:
        ada = Inside(space)
        await seen(space)
        await ada.out(f"for ((i = 0; i < {BATCH_MAX * 2}; i++)); do : > $i; done")
        await ada.hear(Missed)


async def test_a_flood_is_not_watched_for_a_while(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(observer, "EVENTS_MAX", 100)
    monkeypatch.setattr(observer, "FLOOD_PAUSE", 0.1)
    async with opened(host) as space:
        ada = Inside(space)
        await seen(space)
        await ada.start("while :; do mv $(mktemp -p .) x; done")
        await ada.hear(Missed)
        space.kill_program(ada.member)
        while space.run is not None:
            await trio.sleep(0.01)
        await ada.out("mkdir later")
        for number in range(1000):
            await ada.out(f"touch later/{number}")
            with trio.move_on_after(0.3):
                await told(ada, f"later/{number}")
                break


async def test_too_many_folders_are_told_once(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(observer, "FOLDERS_MAX", 3)
    async with opened(host) as space:
        ada = Inside(space)
        await seen(space)
        await ada.out("mkdir -p a/b/c/d/e f g h")
        assert "more than 3 folders" in (await ada.hear(Warned)).message
        assert len(watches(space)) == 3
        await ada.out("touch end")
        await told(ada, "end")
        assert sum(isinstance(each, Warned) for each in ada.heard) == 1


async def test_without_an_instance_members_are_told_and_list_still_works(
    host: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    def none() -> None:
        raise OSError(24, "Too many open files")

    monkeypatch.setattr(observer, "Inotify", none)
    async with opened(host) as space:
        ada = Inside(space)
        assert "Too many open files" in (await ada.hear(Warned)).message
        await ada.out("touch x")
        assert [each.name for each in (await space.files.list(""))[0]] == ["x"]


async def test_folders_that_go_are_forgotten_and_the_end_frees_all(host: Host) -> None:
    async with opened(host) as space:
        ada = Inside(space)
        await seen(space)
        await ada.out("mkdir -p a/b/c; touch a/b/c/x end")
        await told(ada, "end")
        while len(watches(space)) != 4:
            await trio.sleep(0.01)
        await ada.out("mv a /tmp/a; mkdir d; touch end2")
        await told(ada, "end2")
        while len(watches(space)) != 2:
            await trio.sleep(0.01)
        await ada.out("rmdir d")
        while len(watches(space)) != 1:
            await trio.sleep(0.01)
        kept = watches(space)
    assert len(kept) == 0
    assert not [fd for fd in os.listdir("/proc/self/fd") if _link(fd) == "anon_inode:inotify"]


def _link(fd: str) -> str:
    try:
        return os.readlink(f"/proc/self/fd/{fd}")
    except OSError:
        return ""


def test_a_watch_is_of_a_descriptor(tmp_path: Path) -> None:
    notify = inotify.Inotify()
    fd = os.open(tmp_path, os.O_RDONLY | os.O_DIRECTORY)
    watch = notify.watch(fd)
    assert notify.watch(fd) == watch
    os.close(fd)
    (tmp_path / "x").write_bytes(b"")
    (tmp_path / "x").rename(tmp_path / "é")
    events = list(notify.read())
    assert [event.name for event in events] == ["x", "x", "x", "é"], "made, written and closed, and renamed"
    assert events[-1].cookie == events[-2].cookie != 0
    notify.forget(watch)
    notify.forget(watch)
    assert [event.mask for event in notify.read()] == [inotify.IGNORED]
    assert list(notify.read()) == []
    with pytest.raises(NotADirectoryError):
        file = os.open(tmp_path / "é", os.O_RDONLY)
        try:
            notify.watch(file)
        finally:
            os.close(file)
    notify.close()


@given(st.binary(max_size=200))
def test_any_bytes_are_events(data: bytes) -> None:
    list(inotify.parse(data))


# --- whose changes are news ------------------------------------------------------------------------------------------


def news(batch: Batch, mine: Mine | None = None) -> list[Told]:
    return list(batch.told(mine or Mine()))


def test_one_path_is_told_once() -> None:
    batch = Batch()
    for _ in range(3):
        batch.made("x")
        batch.written("x")
    batch.written("y")
    batch.gone("z")
    batch.made("passing")
    batch.gone("passing")
    batch.made(".x.runnerd~")
    batch.renamed("a", "b", folder=True)
    batch.renamed("b", "c", folder=True)
    assert news(batch) == [
        Told("write", "x"),
        Told("write", "y"),
        Told("delete", "z"),
        Told("rename", "a", "b"),
        Told("rename", "b", "c"),
    ]


def test_what_was_replaced_and_deleted_is_told() -> None:
    batch = Batch()
    batch.made("x", placed=True)
    batch.gone("x")
    assert news(batch) == [Told("delete", "x")]


def test_members_changes_are_none_until_settled() -> None:
    mine, batch = Mine(), Batch()
    with mine.made("a/b/x"):
        batch.made("a", folder=True)
        batch.made("a/b", folder=True)
        batch.made("a/b/x", placed=True)
        batch.made("a/other")
    with mine.deleted("old"):
        batch.gone("old/inner")
        batch.gone("old")
    assert news(batch, mine) == [Told("create", "a/other")]
    batch.gone("a/b/x")
    batch.written("a/b")
    assert Told("delete", "a/b/x") in news(batch, mine), "not what the member did to it"
    mine.settle()
    assert len(news(batch, mine)) == 6


def test_a_direct_write_is_no_members() -> None:
    mine, batch = Mine(), Batch()
    with mine.made("x"):
        batch.made("x", placed=True)
        mine.settle()
        assert news(batch, mine) == [], "what is under way stays"
        batch.written("x")
    assert news(batch, mine) == [Told("write", "x")]


def test_a_batch_is_bounded() -> None:
    batch = Batch()
    for number in range(BATCH_MAX + 1):
        batch.made(str(number))
    assert batch.overflowed
    assert len(news(batch)) == BATCH_MAX
