"""One document by itself: copies, its file, and clients that send what they like."""

import itertools
import signal
import subprocess
import sys
from collections.abc import Callable, Coroutine
from typing import Any

import pytest
import trio
from hypothesis import example, given, settings
from hypothesis import strategies as st

from runnerd.errors import BadRequest, Busy, RunnerdError, TooLarge
from runnerd.lib0 import sized, uint
from runnerd.session import document as module
from runnerd.session.cursors import STATE_MAX, STATES_MAX
from runnerd.session.document import OURS, Document, Malformed, OpenedAnew
from runnerd.session.editors import UPDATES_MAX, Changed, Shown
from runnerd.session.updates import STRUCTS_MAX, clocks_of, shape_of

from .copies import Copy, Joined


def nothing() -> None:
    pass


def opened(text: str = "") -> Document:
    return Document(text, nothing)


def save(document: Document, file: str) -> str:
    """As its space saves it: what the file holds afterwards."""
    document.changed(file)
    text, update = document.unsaved()
    document.saved(update)
    return text


def run(test: Callable[[], Coroutine[Any, Any, None]]) -> None:
    trio.run(test)


@pytest.mark.parametrize("text", ["", "one\r\ntwo", "a😀b\0\n", "x" * 10_000])
def test_a_copy_has_the_text_of_the_file(text: str) -> None:
    document = opened(text)
    assert str(Joined(document)) == document.text == save(document, text) == text


async def test_what_one_types_others_and_the_file_have() -> None:
    document = opened("print(1)\n")
    ada, bob = Joined(document), Joined(document)
    ada.insert(6, "4")
    ada.insert(0, "😀")
    ada.delete(2, 1)
    ada.send()
    await bob.take()
    assert str(ada) == str(bob) == document.text == save(document, "print(1)\n") == "😀pint(41)\n"
    assert not [news for news in await heard(ada) if isinstance(news, Changed)]


async def heard(joined: Joined) -> list[object]:
    """What waits for it, but for what makes it not wait."""
    joined.editor.change(b"\0\0")
    return [news for news in await joined.editor.next() if news != Changed(b"\0\0")]


async def test_the_file_is_one_more_who_edits() -> None:
    document = opened("one\ntwo\nthree\n")
    ada = Joined(document)
    ada.insert(5, "AA")
    ada.send()
    # Somebody wrote the file meanwhile, who had not seen that.
    assert save(document, "zero\none\ntwo\nTHREE\n") == "zero\none\ntAAwo\nTHREE\n"
    await ada.take()
    assert str(ada) == document.text == "zero\none\ntAAwo\nTHREE\n"
    assert save(document, document.text) == document.text


async def test_what_could_not_be_saved_is_no_edit_that_takes_it_back() -> None:
    document = opened("old")
    ada = Joined(document)
    ada.insert(3, " and new")
    ada.send()
    document.unsaved()  # and writing it failed
    assert save(document, "old") == "old and new"


STEP = st.one_of(
    st.tuples(
        st.just("type"), st.integers(0, 4), st.integers(0, 100), st.sampled_from(["a", "é", "😀", "line\n", "\r\n"])
    ),
    st.tuples(st.just("cut"), st.integers(0, 4), st.integers(0, 100), st.integers(1, 5)),
    st.tuples(st.just("send"), st.integers(0, 4), st.integers(1, 3)),
    st.tuples(st.just("take"), st.integers(0, 4)),
    st.tuples(st.just("save")),
    st.tuples(st.just("write"), st.integers(0, 100), st.sampled_from(["W", "write\n"])),
)


@settings(deadline=None, max_examples=100)
@given(st.text(max_size=20), st.lists(STEP, max_size=60))
def test_whoever_edits_in_whatever_order_all_copies_and_the_file_converge(
    text: str, steps: list[tuple[Any, ...]]
) -> None:
    async def check() -> None:
        document, file = opened(text), text
        copies = [Joined(document, client) for client in range(1, 6)]
        for step in steps:
            match step:
                case "type", who, at, what:
                    copies[who].insert(at % (len(str(copies[who])) + 1), what)
                case "cut", who, at, count:
                    length = len(str(copies[who]))
                    if at < length:
                        copies[who].delete(at, min(count, length - at))
                case "send", who, count:
                    copies[who].send(count)
                case "take", who:
                    await copies[who].take()
                case "save", *_:
                    file = save(document, file)
                case "write", at, what:
                    at = at % (len(file) + 1)
                    file = file[:at] + what + file[at:]
                case _:
                    raise AssertionError(step)
        file = save(document, file)
        for each in copies:
            each.send()
        for each in copies:
            await each.take()
        file = save(document, file)
        assert {str(each) for each in copies} | {document.text} == {file}
        assert document._known == clocks_of(document.state())
        late = Joined(document)
        assert str(late) == file
        document._compact()
        assert document.text == file
        with pytest.raises(BadRequest), document._guarded():
            raise ValueError("so that it is made again")
        assert document.text == file

    run(check)


# --- hostile clients -------------------------------------------------------------------------------------------------


def ident(client: int, clock: int) -> bytes:
    return uint(client) + uint(clock)


CLIENTS = st.sampled_from([0, 1, 2, 3, 7, 2**32, 2**53 - 1])
CLOCKS = st.one_of(st.integers(0, 12), st.sampled_from([2**31 - 1, 2**32, 2**53 - 1]))
LENGTHS = st.one_of(st.integers(0, 4), st.sampled_from([2**31 - 1, 2**53 - 1]))
IDS = st.builds(ident, CLIENTS, CLOCKS)


@st.composite
def structs(draw: st.DrawFn) -> bytes:
    kind = draw(st.sampled_from([0, 1, 4, 4, 4, 4, 5, 6, 7, 8, 9, 10, 11, 31]))
    flags = draw(st.sampled_from([0, 0x80, 0x40, 0xC0, 0x20]))
    out = bytes([kind | flags])
    if kind not in (0, 10):
        if flags & 0x80:
            out += draw(IDS)
        if flags & 0x40:
            out += draw(IDS)
        if not flags & 0xC0:
            out += draw(st.sampled_from([b"\x01\x04text", b"\x01\x05other", b"\x00" + ident(1, 0)]))
    if kind == 4:
        return out + sized(draw(st.sampled_from(["a", "abc", "😀", "a😀b", ""])).encode())
    if kind in (0, 1, 10):
        return out + uint(draw(LENGTHS))
    return out + draw(st.binary(max_size=6))


@st.composite
def hostile(draw: st.DrawFn) -> bytes:
    clients = draw(st.lists(CLIENTS, max_size=3, unique=True))
    out = uint(len(clients))
    for client in clients:
        parts = draw(st.lists(structs(), max_size=4))
        out += uint(len(parts)) + ident(client, draw(st.sampled_from([0, 0, 0, 1, 2, 3, 5, 2**31]))) + b"".join(parts)
    deleted = draw(st.lists(CLIENTS, max_size=2, unique=True))
    out += uint(len(deleted))
    for client in deleted:
        ranges = draw(st.lists(st.tuples(CLOCKS, LENGTHS), max_size=3))
        out += uint(client) + uint(len(ranges)) + b"".join(ident(*each) for each in ranges)
    return out


def real() -> bytes:
    copy = Copy(2)
    copy.insert(0, "hello 😀")
    copy.delete(1, 2)
    copy.insert(2, "X")
    return copy.doc.get_update()


@st.composite
def mangled(draw: st.DrawFn) -> bytes:
    data = bytearray(real())
    for _ in range(draw(st.integers(0, 3))):
        data[draw(st.integers(0, len(data) - 1))] = draw(st.integers(0, 255))
    return bytes(data[: draw(st.integers(0, len(data)))])


@settings(deadline=None, max_examples=100)
@given(st.lists(st.one_of(hostile(), mangled(), st.binary(max_size=40)), max_size=6), st.binary(max_size=12))
def test_no_update_harms_anybody_else(updates: list[bytes], vector: bytes) -> None:
    async def check() -> None:
        document = opened("a😀b")
        ada, mallory = Joined(document), Joined(document)
        for update in updates:
            before = document.text
            try:
                taken = document.update(mallory.editor, update)
            except RunnerdError:
                taken = False
            assert taken or document.text == before
            assert document._known == clocks_of(document.state())
        try:
            document.missing(vector)
        except RunnerdError:
            pass
        ada.insert(0, "still here ")
        ada.send()
        await ada.take()
        late = Joined(document)
        assert str(late) == str(ada) == save(document, "a😀b") == document.text
        assert "still here" in document.text

    run(check)


@settings(deadline=None, max_examples=150)
@given(st.one_of(hostile(), mangled(), st.binary(max_size=60)))
@example(b"\xff" * 20)
@example(b"\x01\xff\xff\xff\xff\x0f\x05\x00")
def test_whatever_is_looked_at_is_refused_or_has_a_shape(update: bytes) -> None:
    try:
        shape = shape_of(update)
    except BadRequest:
        return
    assert shape.weight >= len(shape.ranges)


# --- bounds ----------------------------------------------------------------------------------------------------------


def one_place(client: int, count: int, clock: int = 0) -> bytes:
    """An update of many parts that all claim the beginning."""
    return uint(1) + uint(count) + ident(client, clock) + (b"\x04\x01\x04text" + sized(b"a")) * count + b"\0"


DEEP = b"\1\1\5\0" + b"\x08\1\4text\1" + b"\x75\1" * 100_000 + b"\x7e" + b"\0"
"""A list in a list in a list: the library reads it by recursion."""


def test_what_would_end_the_process_is_not_given_to_the_library() -> None:
    with pytest.raises(BadRequest):
        opened().update(Joined(opened()).editor, DEEP)
    # The control: without that look the process is gone.
    program = "import sys, pycrdt; pycrdt.Doc().apply_update(sys.stdin.buffer.read())"
    done = subprocess.run([sys.executable, "-c", program], input=DEEP, capture_output=True)
    assert done.returncode in (-signal.SIGSEGV, -signal.SIGABRT, -signal.SIGBUS)


def test_a_panic_of_the_library_leaves_the_document_as_it_was(monkeypatch: pytest.MonkeyPatch) -> None:
    document = opened("one")
    ada = Joined(document)
    ada.insert(3, " two")
    ada.send()
    with pytest.raises(Malformed) as caught, document._guarded(), document._live.transaction():
        module._text(document._live).insert(0, "half ")
        del module._text(document._live)[0:1000]  # more than there is
    assert caught.value.__cause__ is not None
    assert not isinstance(caught.value.__cause__, Exception)
    ada.insert(0, "zero ")
    ada.send()
    assert str(Joined(document)) == save(document, "one") == "zero one two"


def test_other_things_than_errors_pass() -> None:
    document = opened("one")
    with pytest.raises(KeyboardInterrupt), document._guarded():
        raise KeyboardInterrupt


def test_a_document_whose_history_is_full_ends_for_all_and_is_saved(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "HISTORY_MAX", 100_000)
    typed = []
    document = Document("", lambda: typed.append(document.text))
    ada, bob = Joined(document), Joined(document)
    with pytest.raises(OpenedAnew):
        for number in itertools.count():
            ada.insert(0, f"{number}" * 1000)
            ada.send()
    assert 60_000 < len(document.text) < 100_000
    assert typed[-1] == save(document, "") == document.text
    with pytest.raises(OpenedAnew):
        document.join(10)
    with pytest.raises(OpenedAnew):
        trio.run(bob.editor.next)


async def test_a_history_is_what_is_left_of_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """Typing and deleting the same does not fill it."""
    document = opened("one")
    ada = Joined(document)
    for _ in range(3000):
        ada.insert(1, "abcdefgh" * 10)
        ada.delete(1, 80)
        ada.send()
    assert document._size < 150_000
    assert document._parts < 12_000
    assert document.text == "one"


def test_too_many_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    document = opened()
    ada = Joined(document)
    with pytest.raises(TooLarge):
        document.update(ada.editor, one_place(5, STRUCTS_MAX))
    monkeypatch.setattr(module, "PRODUCT_MAX", 1_000_000)
    assert document.update(ada.editor, one_place(5, 5000))
    with pytest.raises(TooLarge):
        document.update(ada.editor, one_place(6, 1000))
    assert document.update(ada.editor, one_place(6, 100))
    monkeypatch.setattr(module, "PARTS_MAX", 5200)
    with pytest.raises(OpenedAnew):
        for client in range(100, 400):
            document.update(ada.editor, one_place(client, 1))


def test_too_many_clients(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "CLIENTS_MAX", 20)
    document = opened()
    ada = Joined(document)
    with pytest.raises(OpenedAnew):
        for client in range(100):
            document.update(ada.editor, one_place(client, 1))
    assert len(document.text) == 19


async def test_who_is_slow_gets_the_whole_document_once() -> None:
    document = opened()
    ada, bob = Joined(document), Joined(document)
    for number in range(100):
        ada.insert(0, f"{number % 10}" * 10_000)
        ada.send()
    assert bob.editor._size > UPDATES_MAX
    assert not bob.editor._updates
    (news,) = await bob.editor.next()
    assert isinstance(news, Changed)
    bob.hear(news.update)
    assert str(bob) == document.text
    ada.insert(0, "more")
    ada.send()
    await bob.take()
    assert str(bob) == document.text


def test_nobody_types_in_the_name_of_the_file() -> None:
    document = opened("one")
    ada = Joined(document)
    file = next(client for client in clocks_of(document.state()) if client >= OURS)
    eve = Copy(file)
    eve.hear(document.whole())
    eve.insert(0, "x")
    with pytest.raises(BadRequest):
        document.update(ada.editor, eve.typed[0])


def test_as_many_as_may_be() -> None:
    document = opened()
    for _ in range(3):
        document.join(3)
    with pytest.raises(Busy):
        document.join(3)


async def test_cursors() -> None:
    document = opened()
    ada, bob = document.join(9), document.join(9)
    document.show(ada, 1, '{"a":1}')
    document.show(bob, 1, "null")
    document.show(bob, 2, "{}")
    (shown,) = await bob.next()
    assert isinstance(shown, Shown)
    assert [(each.client, each.state) for each in shown.cursors] == [(1, '{"a":1}')]
    for state in ("", "{", "[]", "1", '{"a":NaN}', '{"a":' + "[" * 2000 + "]" * 2000 + "}", "{}x"):
        with pytest.raises(BadRequest):
            document.show(ada, 1, state)
    with pytest.raises(TooLarge):
        document.show(ada, 1, '{"a":"' + "x" * STATE_MAX + '"}')
    with pytest.raises(TooLarge):
        for client in range(100, 101 + STATES_MAX):
            document.show(ada, client, "{}")
    document.leave(ada)
    (gone,) = await bob.next()
    assert isinstance(gone, Shown)
    assert {each.state for each in gone.cursors} == {"null"}
    assert {each.client for each in gone.cursors} == {1, *range(100, 99 + STATES_MAX)}
    assert gone.cursors[0].clock > shown.cursors[0].clock
    document.show(bob, 1, "{}")  # whose it was is gone
