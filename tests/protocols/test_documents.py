"""The messages of y-websocket, against those that pycrdt writes, and the address of a document."""

import pycrdt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from runnerd.errors import BadRequest
from runnerd.lib0 import SAFE, Reader, sized, uint
from runnerd.protocols.documents import Cursor, Cursors, Message, Query, State, Update, address, decode, encode

MESSAGES = st.one_of(
    st.builds(State, st.binary()),
    st.builds(Update, st.binary(), st.booleans()),
    st.builds(Cursors, st.lists(st.builds(Cursor, st.integers(0, SAFE), st.integers(0, SAFE), st.text()))),
    st.just(Query()),
)


@given(MESSAGES)
def test_what_is_written_is_read(message: Message) -> None:
    assert decode(encode(message)) == message


@given(st.binary())
def test_any_bytes_are_a_message_or_refused(data: bytes) -> None:
    try:
        message = decode(data)
    except BadRequest:
        return
    assert message is None or decode(encode(message)) == message


def test_they_are_those_of_the_library() -> None:
    doc = pycrdt.Doc(client_id=5)
    doc.get("text", type=pycrdt.Text).insert(0, "x" * 200)
    assert decode(pycrdt.create_sync_message(doc)) == State(doc.get_state())
    assert decode(pycrdt.create_update_message(doc.get_update())) == Update(doc.get_update())
    answer = pycrdt.handle_sync_message(encode(State(b"\0"))[1:], doc)
    assert answer is not None
    assert decode(answer) == Update(doc.get_update(), answer=True)
    other = pycrdt.Doc()
    pycrdt.handle_sync_message(encode(Update(doc.get_update()))[1:], other)
    assert other.get_state() == doc.get_state()
    awareness = pycrdt.Awareness(doc)
    awareness.set_local_state({"user": {"name": "Zoë"}})
    update = awareness.encode_awareness_update([5])
    (cursor,) = decode(pycrdt.create_awareness_message(update)).cursors  # pyright: ignore
    assert (cursor.client, cursor.clock) == (5, 1)
    assert pycrdt.read_message(encode(Cursors([cursor]))[1:]).endswith(cursor.state.encode())


@pytest.mark.parametrize(
    "data",
    [b"", b"\4", b"\0", b"\0\3\0", b"\0\0\2a", b"\3\0", b"\1\1\1", b"\1\4\1\5\1\1\xff", b"\0\0\0\0", "text"],
    ids=["empty", "kind", "half", "sync", "cut", "after", "cursors", "latin", "more", "text"],
)
def test_what_is_no_message(data: bytes | str) -> None:
    with pytest.raises(BadRequest):
        decode(data)


def test_a_word_on_rights_is_passed_over() -> None:
    assert decode(b"\2\0\5hello") is None


@pytest.mark.parametrize("data", [b"\xff" * 8 + b"\1", b"\xff" * 20, b"\x80" * 9 + b"\0"])
def test_numbers_end(data: bytes) -> None:
    with pytest.raises(BadRequest):
        Reader(data).uint()


@given(st.integers(0, SAFE), st.binary())
def test_numbers_and_bytes(value: int, data: bytes) -> None:
    assert uint(value) == pycrdt.write_var_uint(value)
    reader = Reader(uint(value) + sized(data))
    assert (reader.uint(), reader.sized(), reader.rest) == (value, data, 0)


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("/ws/documents/n1-ab/main.py", ("n1-ab", "main.py")),
        ("/ws/documents/n1-ab/src/deep/main.py", ("n1-ab", "src/deep/main.py")),
        ("/ws/documents/n1-ab/a%20b/%C3%A9%3F.py", ("n1-ab", "a b/é?.py")),
        ("/ws/documents/n1-ab/src//./x", ("n1-ab", "src/x")),
    ],
)
def test_addresses(path: str, expected: tuple[str, str]) -> None:
    assert address(path) == expected


@pytest.mark.parametrize("name", ["", "..", "a/../b", "%2e%2e/b", "%2Fetc", "a%00b", "%ff", "x" * 300])
def test_addresses_outside(name: str) -> None:
    with pytest.raises(BadRequest):
        address(f"/ws/documents/n1-ab/{name}")
