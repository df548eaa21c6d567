"""One document by itself: copies, its file, and clients that send what they like."""

from collections.abc import Callable, Coroutine
from typing import Any

import pytest
import trio
from hypothesis import example, given, settings
from hypothesis import strategies as st

from runnerd.errors import BadRequest, RunnerdError
from runnerd.lib0 import sized, uint
from runnerd.session.document import Document
from runnerd.session.editors import Changed
from runnerd.session.updates import clocks_of, shape_of

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


@settings(deadline=None, max_examples=150)
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


@settings(deadline=None, max_examples=400)
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


@settings(deadline=None, max_examples=300)
@given(st.one_of(hostile(), mangled(), st.binary(max_size=60)))
@example(b"\xff" * 20)
@example(b"\x01\xff\xff\xff\xff\x0f\x05\x00")
def test_whatever_is_looked_at_is_refused_or_has_a_shape(update: bytes) -> None:
    try:
        shape = shape_of(update)
    except BadRequest:
        return
    assert shape.weight >= len(shape.ranges)
