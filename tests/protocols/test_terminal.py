"""runnerd.v1 frame by frame, without a socket; and docs/protocol.md's exchange, word for word."""

import json
import re
import struct
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runnerd import errors
from runnerd.errors import Busy
from runnerd.protocols import (
    Authenticate,
    CloseInput,
    Draining,
    Ended,
    Event,
    Failed,
    Input,
    Kill,
    Output,
    Ping,
    Pong,
    Resize,
    Signal,
    Skipped,
    Start,
    Started,
    StateChanged,
)
from runnerd.protocols.terminal import TerminalAdapter

DOCUMENT = (Path(__file__).parents[2] / "docs/protocol.md").read_text()


def receive(**fields: Any) -> Any:
    """The one command that a message asks for."""
    commands, answers = TerminalAdapter().receive(json.dumps(fields))
    assert not answers, answers
    (command,) = commands
    return command


def refused(frame: str | bytes) -> dict[str, Any]:
    """The error that a frame is answered with."""
    commands, answers = TerminalAdapter().receive(frame)
    assert not commands
    (answer,) = answers
    assert isinstance(answer, str)
    return json.loads(answer)


def test_start_in_full() -> None:
    command = receive(
        type="start",
        stream=7,
        language="python",
        files={"a/b.py": "print()", "bin": {"base64": "AAH/"}},
        main="a/b.py",
        args=["x"],
        env={"A": "1"},
        mode="split",
        rows=30,
        cols=100,
        stdin={"base64": "AA=="},
        limits={"wall": 5, "memory": 1e6},
        unknown="ignored",
    )
    assert command == Start(
        stream=7,
        language="python",
        files={"a/b.py": b"print()", "bin": b"\x00\x01\xff"},
        main="a/b.py",
        args=("x",),
        env={"A": "1"},
        mode="split",
        rows=30,
        cols=100,
        stdin=b"\0",
        limits={"wall": 5.0, "memory": 1e6},
    )


def test_short_start() -> None:
    assert receive(type="start", language="c", code="int x;") == Start(stream=1, language="c", files={"": b"int x;"})
    assert receive(type="start", argv=["bash", "-i"]).argv == ("bash", "-i")


def test_key_in_the_first_message() -> None:
    commands, _ = TerminalAdapter().receive('{"type": "start", "language": "c", "code": "", "key": "k"}')
    assert commands[0] == Authenticate("k")
    assert isinstance(commands[1], Start)


@pytest.mark.parametrize(
    ("fields", "command"),
    [
        ({"type": "input", "data": "é\n"}, Input(1, "é\n".encode())),
        ({"type": "input", "stream": 2, "data": {"base64": "AAE="}}, Input(2, b"\0\1")),
        ({"type": "eof"}, CloseInput(1)),
        ({"type": "resize", "rows": 1, "cols": 1000}, Resize(1, 1, 1000)),
        ({"type": "signal", "signal": "SIGINT"}, Signal(1, "INT")),
        ({"type": "signal", "signal": "term"}, Signal(1, "TERM")),
        ({"type": "kill", "stream": 4294967295}, Kill(4294967295)),
        ({"type": "ping", "id": "a"}, Ping("a")),
        ({"type": "auth", "key": "k"}, Authenticate("k")),
    ],
)
def test_controls(fields: dict[str, Any], command: object) -> None:
    assert receive(**fields) == command


@given(st.integers(0, 2**32 - 1), st.binary())
def test_binary_input(stream: int, data: bytes) -> None:
    assert TerminalAdapter().receive(b"\0" + struct.pack(">I", stream) + data) == ([Input(stream, data)], [])


@pytest.mark.parametrize(
    ("frame", "code", "words"),
    [
        ("nonsense", "not_json", "not JSON"),
        ("[]", "not_json", "object"),
        ("[" * 100_000, "not_json", "not JSON"),
        ("{}", "bad_request", "type is missing"),
        ('{"type": "dance"}', "unknown_type", "dance"),
        ('{"type": 3}', "bad_request", "type is 3"),
        ('{"type": "start"}', "bad_request", "language is missing"),
        ('{"type": "start", "language": 3}', "bad_request", "language is 3"),
        ('{"type": "start", "language": "c", "mode": "tty"}', "bad_request", "mode is 'tty'"),
        ('{"type": "start", "language": "c", "rows": 0}', "bad_request", "rows is 0"),
        ('{"type": "start", "language": "c", "rows": true}', "bad_request", "rows is true"),
        ('{"type": "start", "language": "c", "stream": -1}', "bad_request", "stream is -1"),
        ('{"type": "start", "language": "c", "files": {"../x": ""}}', "bad_request", "path '../x'"),
        ('{"type": "start", "language": "c", "files": {"/x": ""}}', "bad_request", "path '/x'"),
        ('{"type": "start", "language": "c", "files": {"x": 3}}', "bad_request", "files.x is 3"),
        ('{"type": "start", "language": "c", "files": {"x": {"base64": "!"}}}', "bad_request", "not base64"),
        ('{"type": "start", "argv": []}', "bad_request", "argv is empty"),
        ('{"type": "start", "argv": ["a\\u0000"]}', "bad_request", "NUL"),
        ('{"type": "start", "language": "c", "env": {"A B": ""}}', "bad_request", "'A B'"),
        ('{"type": "start", "language": "c", "limits": {"wall": "1"}}', "bad_request", "limits.wall"),
        ('{"type": "start", "language": "c", "limits": {"wall": 0}}', "bad_request", "limits.wall is 0"),
        (
            f'{{"type": "start", "language": "c", "limits": {{"wall": 1{"0" * 400}}}}}',
            "bad_request",
            "limits.wall is 1",
        ),
        ('{"type": "start", "language": ["c"]}', "bad_request", "language is a list"),
        ('{"type": "start", "language": "c", "files": {"x": {}}}', "bad_request", "files.x is an object"),
        ('{"type": "resize", "rows": 5}', "bad_request", "cols is missing"),
        ('{"type": "signal", "signal": "../"}', "bad_request", "signal is"),
        ('{"type": "input"}', "bad_request", "data"),
        (b"", "bad_request", "binary"),
        (b"\1\0\0\0\1x", "bad_request", "binary"),
        (b"\0\0\0", "bad_request", "binary"),
    ],
)
def test_what_is_wrong_is_told(frame: str | bytes, code: str, words: str) -> None:
    error = refused(frame)
    assert error["type"] == "error"
    assert error["code"] == code
    assert words in error["message"]


WRONG: dict[str, list[Any]] = {
    "stream": ["1", True, 1.5, -1, 2**32, 10**400, [], {}],
    "language": [3, True, [], {}],
    "code": [3, False, 1.5, [], {"base64": "AA=="}],
    "files": [3, "x", [], {"x": 3}, {"x": []}, {"": "x"}, {"a\0": "x"}],
    "main": [3, [], {}],
    "args": ["a", 3, {}, [1], [[]], ["a\0"]],
    "argv": ["a", 3, {}, [], [None], ["a\0"]],
    "env": [[], "A", {"A": 1}, {"A": "\0"}, {"A=B": ""}],
    "mode": [3, "tty", [], {}],
    "rows": ["1", 0, 1001, True, 1.5, 10**400, [], {}],
    "cols": ["1", 0, 1001, True, 1.5, 10**400, [], {}],
    "stdin": [3, True, [], {}, {"base64": "!"}, {"base64": 3}],
    "limits": [3, "x", [], {"wall": "1"}, {"wall": True}, {"wall": 0}, {"wall": -1}, {"wall": 10**400}, {"wall": []}],
    "key": [3, True, [], {}],
}


@pytest.mark.parametrize(("name", "value"), [(name, value) for name, values in WRONG.items() for value in values])
def test_every_field_of_a_start_is_checked(name: str, value: Any) -> None:
    error = refused(json.dumps({"type": "start", "language": "c", "code": "", name: value}))
    assert (error["type"], error["code"]) == ("error", "bad_request")
    assert name in error["message"] or "NUL" in error["message"]
    assert len(json.dumps(error)) < 400


@pytest.mark.parametrize(
    ("kind", "fields"),
    [
        *(("input", {"data": value}) for value in (3, True, [], {}, {"base64": "!"}, None)),
        *(("signal", {"signal": value}) for value in (2, True, [], {}, "-9", "INT\0", None)),
        *(("resize", {"rows": 1, "cols": value}) for value in ("1", 0, 1001, True, [], 10**400, None)),
        *(("ping", {"id": value}) for value in (1.5, True, [], {})),
        *(("auth", {"key": value}) for value in (3, True, [], {}, None)),
        *((kind, {"stream": "x"}) for kind in ("eof", "kill")),
    ],
)
def test_every_field_of_other_messages_is_checked(kind: str, fields: dict[str, Any]) -> None:
    error = refused(json.dumps({"type": kind, **fields}))
    assert (error["code"], len(json.dumps(error)) < 400) == ("bad_request", True)


@pytest.mark.parametrize(
    ("frame", "stream"),
    [
        ('{"type": "dance", "stream": 3}', None),
        ('{"type": "auth"}', None),
        ('{"type": "resize", "stream": 3}', 3),
        ('{"type": "kill", "stream": "x"}', None),
        (b"\0", None),
    ],
)
def test_an_error_names_its_stream(frame: str | bytes, stream: int | None) -> None:
    assert refused(frame).get("stream") == stream


def test_long_values_are_shown_in_short() -> None:
    assert len(json.dumps(refused(f'{{"type": "resize", "rows": {"9" * 4000}, "cols": 1}}'))) < 300
    assert len(json.dumps(refused(json.dumps({"type": "x" * 10**6})))) < 300


@pytest.mark.parametrize("opening", ["[", '{"a":'])
def test_no_depth_of_nesting_raises(opening: str) -> None:
    """Around the deepest that can be decoded, less is left for whoever looks at it."""
    closing = "]" if opening == "[" else "}"
    for depth in range(1, sys.getrecursionlimit() + 100):
        nested = f"{opening * depth}1{closing * depth}"
        assert refused(f'{{"type": "start", "language": {nested}}}')


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=10,
)
names = st.sampled_from(
    [
        "type",
        "stream",
        "language",
        "files",
        "code",
        "main",
        "args",
        "argv",
        "env",
        "mode",
        "rows",
        "cols",
        "stdin",
        "limits",
        "key",
        "data",
        "signal",
        "id",
    ]
)
kinds = st.sampled_from(["start", "input", "eof", "resize", "signal", "kill", "ping", "auth"])


@given(st.text() | st.binary())
def test_nothing_raises_on_noise(frame: str | bytes) -> None:
    TerminalAdapter().receive(frame)


@given(kinds, st.dictionaries(names, json_values))
def test_nothing_raises_on_wrong_values(kind: str, fields: dict[str, Any]) -> None:
    commands, answers = TerminalAdapter().receive(json.dumps({**fields, "type": kind}))
    assert bool(commands) != bool(answers)


@given(st.integers(0, 2**32 - 1), st.sampled_from(["stdout", "stderr"]), st.integers(0, 2**64 - 1), st.binary())
def test_output_frames(stream: int, channel: Any, offset: int, data: bytes) -> None:
    (frame,) = TerminalAdapter().send(Output(stream, channel, offset, data))
    assert isinstance(frame, bytes)
    assert struct.unpack(">BIQ", frame[:13]) == ({"stdout": 1, "stderr": 2}[channel], stream, offset)
    assert frame[13:] == data


def test_busy_tells_when_to_come_back() -> None:
    (frame,) = TerminalAdapter().send(Failed(3, Busy("full", retry_after=2)))
    assert json.loads(frame) == {
        "type": "error",
        "stream": 3,
        "code": "busy",
        "message": "full",
        "hint": "try again in 2 s",
        "retry_after": 2,
    }


EVENTS: list[Event] = [
    Started(1, "n1-5f0c", "python", "terminal", {"box": 0.4, "program": 5.1}),
    Output(1, "stdout", 0, b"Name: "),
    StateChanged(1, "waiting"),
    Output(1, "stdout", 6, b"Ada\r\n"),
    StateChanged(1, "running"),
    Output(1, "stdout", 11, b"Hello Ada\r\n"),
    Ended(1, "exited", 0, None, "", 0.012, 9437184, 3.2, {"end": 3207.5}),
    Pong(7, 1764108000.5),
    Draining(30),
]


def test_output_that_is_left_out() -> None:
    (frame,) = TerminalAdapter().send(Skipped(1, 5))
    assert json.loads(frame) == {"type": "skipped", "stream": 1, "bytes": 5}


def exchange() -> list[str]:
    """The lines of the worked exchange: `> ` the client's, `< ` the server's frames; binary ones as hex."""
    block = re.search(r"```exchange\n(.*?)```", DOCUMENT, re.DOTALL)
    assert block is not None
    return block[1].splitlines()


def test_the_documents_exchange_is_true() -> None:
    adapter = TerminalAdapter()
    for line in (line[2:] for line in exchange() if line.startswith("> ")):
        frame = bytes.fromhex(line.removeprefix("hex ")) if line.startswith("hex ") else line
        commands, answers = adapter.receive(frame)
        assert commands
        assert not answers
    told = [frame for event in EVENTS for frame in adapter.send(event)]
    written = [line[2:] for line in exchange() if line.startswith("< ")]
    assert len(told) == len(written)
    for frame, line in zip(told, written, strict=True):
        if isinstance(frame, bytes):
            assert line == f"hex {frame.hex(' ')}"
        else:
            assert json.loads(line) == json.loads(frame)


def test_every_message_and_field_is_documented() -> None:
    for word in [
        "start",
        "input",
        "eof",
        "resize",
        "signal",
        "kill",
        "ping",
        "auth",
        "started",
        "state",
        "exit",
        "error",
        "pong",
        "draining",
    ]:
        assert f"`{word}`" in DOCUMENT, word
    for name in set(Start.__struct_fields__) - {"profile", "token", "keep"}:  # other protocols'
        assert f"`{name}`" in DOCUMENT, name


def test_every_error_code_is_documented() -> None:
    """Those of setting a host up are told to nobody but its operator."""
    for error in vars(errors).values():
        if isinstance(error, type) and issubclass(error, errors.RunnerdError):
            hidden = issubclass(error, errors.SetupError | errors.ConfigError)
            assert hidden or f"`{error.code}`" in DOCUMENT, error.code
