import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runnerd.errors import BadRequest
from runnerd.server.head import Head, HeadParser, HeadTooLarge, UpgradeRequired

GET = b"GET /a?b=c HTTP/1.1\r\nHost: localhost\r\nX-Thing: one\r\nx-thing: two\r\n\r\n"
HANDSHAKE = {
    "host": "localhost",
    "connection": "keep-alive, Upgrade",
    "upgrade": "websocket",
    "sec-websocket-version": "13",
    "sec-websocket-key": "AAAAAAAAAAAAAAAAAAAAAA==",
}


def head(method: str = "GET", version: str = "1.1", **changes: str | None) -> Head:
    fields = {**HANDSHAKE, **{name.replace("_", "-"): value for name, value in changes.items()}}
    return Head(method, "/x", version, tuple((name, value) for name, value in fields.items() if value is not None))


@given(st.lists(st.integers(1, len(GET) - 1)), st.binary(max_size=40))
def test_a_head_is_the_same_however_it_is_cut(cuts: list[int], rest: bytes) -> None:
    parser = HeadParser(1024)
    points = [0, *sorted(set(cuts)), len(GET)]
    heads = [parser.feed(GET[begin:end]) for begin, end in itertools.pairwise(points)]
    assert heads[:-1] == [None] * (len(heads) - 1)
    found = heads[-1]
    assert found is not None
    assert (found.method, found.target, found.path, found.version) == ("GET", "/a?b=c", "/a", "1.1")
    assert found.get("x-thing") == "one, two"
    assert found.get("x-none") is None
    assert bytes(parser.raw) == GET


@given(st.binary(max_size=300))
def test_any_bytes_give_a_head_or_a_told_error(data: bytes) -> None:
    parser = HeadParser(100)
    try:
        found = parser.feed(data)
    except BadRequest as problem:
        assert problem.status in (400, 431)
    else:
        assert found is None or found.method


def test_what_follows_the_head_is_kept_for_replay() -> None:
    parser = HeadParser(1024)
    assert parser.feed(GET + b"\x81\x00") is not None
    assert bytes(parser.raw) == GET + b"\x81\x00"


@pytest.mark.parametrize("pieces", [1, 50])
def test_a_head_beyond_its_limit_is_refused_whether_it_comes_at_once_or_slowly(pieces: int) -> None:
    parser = HeadParser(200)
    data = b"GET / HTTP/1.1\r\nHost: a\r\nX: " + b"x" * 300 + b"\r\n\r\n"
    size = len(data) // pieces + 1
    with pytest.raises(HeadTooLarge) as caught:
        for begin in range(0, len(data), size):
            parser.feed(data[begin : begin + size])
    assert caught.value.status == 431


@given(
    st.lists(
        st.tuples(st.from_regex(r"[a-z]{1,8}", fullmatch=True), st.from_regex(r"[a-z0-9/=+]{1,20}", fullmatch=True))
    )
)
def test_an_encoded_head_parses_to_itself(fields: list[tuple[str, str]]) -> None:
    forbidden = {"host", "te"}
    headers = (("host", "h"), *((f"x-{name}", value) for name, value in fields if name not in forbidden))
    original = Head("GET", "/path?q", "1.1", headers)
    assert HeadParser(10_000).feed(original.encode()) == original
    assert original.size == len(original.encode())


def test_a_websocket_is_asked_for_by_both_headers_and_get() -> None:
    assert head().wants_websocket
    assert head(connection="UPGRADE", upgrade="WebSocket").wants_websocket
    assert not head(method="POST").wants_websocket
    assert not head(connection="keep-alive").wants_websocket
    assert not head(upgrade="h2c").wants_websocket
    assert not head(upgrade=None).wants_websocket


def test_a_whole_handshake_passes() -> None:
    head().check_handshake()


@pytest.mark.parametrize(
    ("changes", "error"),
    [
        ({"sec_websocket_key": None}, BadRequest),
        ({"sec_websocket_key": "AAAA"}, BadRequest),
        ({"sec_websocket_key": "not base64!"}, BadRequest),
        ({"sec_websocket_key": "ä" * 24}, BadRequest),
        ({"sec_websocket_version": None}, UpgradeRequired),
        ({"sec_websocket_version": "8"}, UpgradeRequired),
        ({"version": "1.0"}, BadRequest),
    ],
)
def test_half_a_handshake_is_refused(changes: dict[str, str], error: type[BadRequest]) -> None:
    with pytest.raises(error):
        head(**changes).check_handshake()
