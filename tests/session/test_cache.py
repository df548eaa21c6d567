"""The cache of compile steps: its keys, and its files."""

import os
from collections.abc import Iterator
from pathlib import Path

import hypothesis.strategies as st
import pytest
import trio
from hypothesis import given

from runnerd.sandbox.spec import Launch, Window
from runnerd.session.cache import Cache, Entry, Product
from runnerd.session.compiled import is_volatile, key
from runnerd.toolchains import Compiled

ENTRY = Entry((("stderr", b"warning\n"), ("stdout", b"\xff")), (Product("/tmp/program", 0o755, b"\x7fELF"),))

words = st.text(max_size=4)
files = st.dictionaries(words, st.binary(max_size=4), max_size=3)
launches = st.builds(
    Launch,
    argv=st.lists(words, max_size=3).map(tuple),
    env=st.dictionaries(words, words, max_size=2),
    mode=st.sampled_from(("terminal", "split", "pipes")),
    cwd=st.sampled_from(("/work", "/tmp/work")),
    window=st.builds(Window, rows=st.integers(24, 25), cols=st.integers(80, 81)),
)
inputs = st.tuples(words, st.lists(st.tuples(words, st.integers(0, 2**40)), max_size=2), launches, files)


def seen(launch: Launch) -> object:
    """What a compiler sees of it."""
    window = None if launch.mode == "pipes" else launch.window
    return launch.argv, list(launch.env.items()), launch.mode, launch.cwd, window


@given(inputs, inputs)
def test_keys_are_equal_just_where_all_input_is(one: tuple[str, list[object], Launch, dict[str, bytes]], other) -> None:
    same = one[:2] == other[:2] and seen(one[2]) == seen(other[2]) and list(one[3].items()) == list(other[3].items())
    assert (key(*one) == key(*other)) is same
    assert key(*one) == key(*one)


@given(st.text(max_size=6), st.binary(max_size=6), st.integers(0, 6), st.integers(0, 6))
def test_nothing_moves_between_a_path_and_its_content_or_the_next_file(
    path: str, data: bytes, at: int, there: int
) -> None:
    """The same bytes in the same order, cut at other places, are another input."""
    text = path.encode() + data
    parts = {"a" + text[:at].decode("latin-1"): text[at:]}
    others = {"a" + text[:there].decode("latin-1"): text[there:]}
    launch = Launch(("cc",), {})
    assert (key("o", 0, launch, parts) == key("o", 0, launch, others)) is (parts == others)
    split = {"a": data[:at], "b": data[at:]}
    moved = {"a": data[:there], "b": data[there:]}
    assert (key("o", 0, launch, split) == key("o", 0, launch, moved)) is (split == moved)


def test_the_order_of_files_is_input_and_names_may_be_any_bytes() -> None:
    """Of two names for one file the later counts."""
    launch = Launch(("cc",), {})
    assert key("", 0, launch, {"a": b"1", "./a": b"2"}) != key("", 0, launch, {"./a": b"2", "a": b"1"})
    names = [os.fsdecode(b"\xff"), os.fsdecode(b"\xfe"), "\xff", "?"]
    assert len({key("", 0, launch, {name: b""}) for name in names}) == len(names)


def test_words_that_make_a_file_depend_on_more_than_itself() -> None:
    compiled = Compiled(("/tmp/program",), volatile=("__TIME__",))
    assert is_volatile(compiled, {"a": b"", "b": b"x = __TIME__;"})
    assert not is_volatile(compiled, {"__TIME__": b"__time__"})


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "new" / "folder"


def keys() -> Iterator[str]:
    return (f"{number:064x}" for number in range(1000))


async def test_what_is_kept_is_found_again_also_by_another_daemon(folder: Path) -> None:
    cache = Cache(folder, 1 << 20)
    one, other, *_ = keys()
    assert await cache.find(one) is None
    await cache.store(one, ENTRY)
    assert await cache.find(one) == ENTRY
    assert await cache.find(other) is None
    assert (cache.hits, cache.misses) == (1, 2)
    assert await Cache(folder, 1 << 20).find(one) == ENTRY
    assert folder.stat().st_mode & 0o077 == 0


def flip(data: bytes) -> bytes:
    return data[:-1] + bytes([data[-1] ^ 1])


@pytest.mark.parametrize("damage", [flip, lambda data: data[:-1], lambda data: b"", lambda data: data + b"x"])
async def test_a_damaged_file_is_a_miss_and_goes(folder: Path, damage) -> None:
    cache = Cache(folder, 1 << 20)
    one = next(keys())
    await cache.store(one, ENTRY)
    (folder / one).write_bytes(damage((folder / one).read_bytes()))
    assert await cache.find(one) is None
    assert os.listdir(folder) == []
    await cache.store(one, ENTRY)
    assert await cache.find(one) == ENTRY


async def test_a_file_under_another_key_is_a_miss(folder: Path) -> None:
    cache = Cache(folder, 1 << 20)
    one, other, *_ = keys()
    await cache.store(one, ENTRY)
    (folder / one).rename(folder / other)
    assert await cache.find(other) is None


def sizes(folder: Path) -> int:
    return sum(file.stat().st_size for file in folder.iterdir())


async def test_the_bound_holds_and_what_was_used_longest_ago_goes_first(folder: Path) -> None:
    cache = Cache(folder, 10_000)
    entry = Entry((), (Product("/tmp/program", 0o755, bytes(2000)),))
    names = list(keys())[:5]
    for age, name in enumerate(names[:4]):
        await cache.store(name, entry)
        os.utime(folder / name, (age, age))
    assert await cache.find(names[0]) == entry  # used just now
    await cache.store(names[4], entry)
    assert sizes(folder) <= 10_000
    assert {file.name for file in folder.iterdir()} == {names[0], *names[2:]}
    for name in list(keys())[5:60]:
        await cache.store(name, entry)
        assert sizes(folder) <= 10_000
    cache.size = 5_000
    await cache.store(names[0], entry)
    assert sizes(folder) <= 5_000


async def test_what_is_larger_than_all_that_may_be_kept_is_not_kept(folder: Path) -> None:
    cache = Cache(folder, 10_000)
    await cache.store(next(keys()), Entry((), (Product("/tmp/program", 0o755, bytes(10_000)),)))
    assert not folder.exists()


async def test_many_may_store_the_same_at_a_time_and_none_reads_half_of_it(folder: Path) -> None:
    cache, one = Cache(folder, 1 << 24), next(keys())
    entries = [Entry((), (Product("/tmp/program", 0o755, bytes([number]) * 300_000),)) for number in range(8)]

    async def read() -> None:
        for _ in range(50):
            found = await cache.find(one)
            assert found is None or found in entries

    async with trio.open_nursery() as nursery:
        for entry in entries:
            nursery.start_soon(cache.store, one, entry)
        nursery.start_soon(read)
    assert await cache.find(one) in entries
    assert os.listdir(folder) == [one]


async def test_a_folder_that_cannot_be_made_costs_the_cache_alone(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "file").touch()
    cache = Cache(tmp_path / "file" / "folder", 1 << 20)
    for name in list(keys())[:2]:
        await cache.store(name, ENTRY)
        assert await cache.find(name) is None
    assert [record.getMessage() for record in caplog.records] == ["what was compiled could not be kept"]
