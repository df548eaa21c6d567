"""Protocol 003 frame by frame, without a socket."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runnerd.errors import BadRequest, Busy, RunnerdError
from runnerd.protocols import (
    CloseInput,
    Draining,
    Ended,
    Event,
    Failed,
    Frame,
    Input,
    Kill,
    Output,
    Pong,
    Resize,
    Signal,
    Skipped,
    Start,
    Started,
    StateChanged,
)
from runnerd.protocols.fields import Fields
from runnerd.protocols.sessions import SessionAdapter, start_of


def told(event: Event) -> dict[str, Any]:
    (frame,) = SessionAdapter().send(event)
    assert isinstance(frame, str)
    return json.loads(frame)


def refused(frame: Frame) -> dict[str, Any]:
    commands, answers = SessionAdapter().receive(frame)
    assert not commands
    (answer,) = answers
    assert isinstance(answer, str)
    error = json.loads(answer)
    assert error["type"] == "error"
    return error


def session(**fields: Any) -> Start:
    return start_of(Fields.decode(json.dumps({"language": "python", "code": "1", **fields})))


def test_the_published_request() -> None:
    body = b'{ "language": "python", "code": "print(\'Hello World\')" }'
    code = b"print('Hello World')"
    assert start_of(Fields.decode(body)) == Start(0, "python", profile="session", files={"": code}, mode="split")


def test_a_request_in_full() -> None:
    assert session(
        files={"a.py": {"base64": "AA=="}}, main="a.py", args=["x"], env={"A": "1"}, tty=True, rows=30, cols=100
    ) == Start(
        0,
        "python",
        profile="session",
        files={"a.py": b"\0", "": b"1"},
        main="a.py",
        args=("x",),
        env={"A": "1"},
        mode="terminal",
        rows=30,
        cols=100,
    )


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"language": None}, "language is missing"),
        ({"language": 3}, "language is 3"),
        ({"code": None}, "code is missing"),
        ({"code": []}, "code is a list"),
        ({"files": 3}, "files is 3"),
        ({"files": {"../x": ""}}, "path '../x'"),
        ({"main": 3}, "main is 3"),
        ({"args": "x"}, 'args is "x"'),
        ({"env": {"A B": ""}}, "'A B'"),
        ({"tty": "no"}, 'tty is "no"'),
        ({"rows": 0}, "rows is 0"),
        ({"cols": 10**400}, "cols is 1000"),
    ],
)
def test_every_field_of_a_request_is_checked(fields: dict[str, Any], words: str) -> None:
    with pytest.raises(BadRequest, match=words):
        session(**fields)


@pytest.mark.parametrize("body", [b"", b"{", b"\xff", b"[]", b'"x"', b"[" * 100_000, b'{"language": "\\ud800"}'])
def test_a_request_is_json(body: bytes) -> None:
    with pytest.raises(BadRequest) as caught:
        start_of(Fields.decode(body))
    assert caught.value.code == "not_json"


@pytest.mark.parametrize(
    ("fields", "command"),
    [
        ({"type": "input", "data": "user input\n"}, Input(0, b"user input\n")),
        ({"type": "input", "data": {"base64": "AP8="}}, Input(0, b"\0\xff")),
        ({"type": "eof"}, CloseInput(0)),
        ({"type": "signal", "signal": "INT"}, Signal(0, "INT")),
        ({"type": "resize", "rows": 1, "cols": 1000}, Resize(0, 1, 1000)),
        ({"type": "kill", "unknown": 1}, Kill(0)),
    ],
)
def test_messages(fields: dict[str, Any], command: object) -> None:
    assert SessionAdapter().receive(json.dumps(fields)) == ([command], [])


@pytest.mark.parametrize(
    ("frame", "code", "words"),
    [
        ("nonsense", "not_json", "not JSON"),
        ('{"type": "input", "da', "not_json", "not JSON"),
        ("[]", "not_json", "object"),
        ("[" * 100_000, "not_json", "not JSON"),
        ('{"type": "\ud800"}', "not_json", "not JSON"),
        (b'{"type": "kill"}', "bad_request", "frames are text"),
        ("{}", "bad_request", "type is missing"),
        ('{"type": 3}', "bad_request", "type is 3"),
        ('{"type": {}}', "bad_request", "type is an object"),
        ('{"type": "dance"}', "unknown_type", "dance"),
        ('{"type": "input"}', "bad_request", "data is missing"),
        ('{"type": "input", "data": 3}', "bad_request", "data is 3"),
        ('{"type": "input", "data": {"base64": "!"}}', "bad_request", "not base64"),
        ('{"type": "signal"}', "bad_request", "signal is missing"),
        ('{"type": "signal", "signal": "-9"}', "bad_request", "signal is '-9'"),
        ('{"type": "resize", "rows": 1}', "bad_request", "cols is missing"),
        (f'{{"type": "resize", "rows": {"9" * 4000}, "cols": 1}}', "bad_request", "rows is 9"),
    ],
    ids=lambda value: ascii(value)[:50],
)
def test_bad_frames_are_answered(frame: Frame, code: str, words: str) -> None:
    error = refused(frame)
    assert error["code"] == code
    assert words in error["message"]
    assert len(json.dumps(error)) < 400


def test_output() -> None:
    assert told(Output(0, "stdout", 7, b"Hello World\n")) == {"type": "stdout", "data": "Hello World\n", "offset": 7}
    assert told(Output(0, "stderr", 0, b"\xff")) == {"type": "stderr", "data": "�", "offset": 0}


def test_states() -> None:
    running = {"type": "state", "state": "running"}
    assert told(Started(0, "n1", "python", "split", {})) == running
    assert told(StateChanged(0, "running")) == running
    assert told(StateChanged(0, "waiting")) == {"type": "state", "state": "waiting"}


def test_output_that_is_left_out() -> None:
    assert told(Skipped(0, 5)) == {"type": "skipped", "bytes": 5}


@pytest.mark.parametrize(
    ("outcome", "code", "signal", "state"),
    [
        ("exited", 3, None, "finished"),
        ("signal", None, "SEGV", "finished"),
        ("compile_error", 1, None, "finished"),
        *(
            (outcome, None, None, "terminated")
            for outcome in ("wall", "idle", "cpu", "memory", "processes", "output", "killed", "failed")
        ),
    ],
)
def test_every_end_has_its_state_and_reason(outcome: str, code: int | None, signal: str | None, state: str) -> None:
    frame = told(Ended(0, outcome, code, signal, "why", 0.25, 4096, 0.5, {}))
    more = {} if signal is None else {"signal": signal}
    assert frame == {"type": "state", "state": state, "exitCode": code, "reason": outcome, "message": "why", **more}


def test_errors() -> None:
    error = told(Failed(0, Busy("too many signals", retry_after=0.1)))
    assert (error["type"], error["code"], error["retry_after"]) == ("error", "busy", 0.1)
    assert told(Failed(None, RunnerdError("x")))["code"] == "internal"


@pytest.mark.parametrize("event", [Draining(3), Pong(1, 1.0)])
def test_other_events_are_not_told(event: Event) -> None:
    assert SessionAdapter().send(event) == []


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=6,
)
kinds = st.sampled_from(["input", "eof", "signal", "resize", "kill", "dance"])
names = st.sampled_from(["data", "signal", "rows", "cols", "id"])
request_names = st.sampled_from(["language", "code", "files", "main", "args", "env", "tty", "rows", "cols"])


@given(st.text() | st.binary())
def test_noise_is_answered(frame: Frame) -> None:
    refused(frame)


@given(kinds, st.dictionaries(names, json_values))
def test_no_field_of_a_message_raises(kind: str, fields: dict[str, Any]) -> None:
    commands, answers = SessionAdapter().receive(json.dumps({**fields, "type": kind}))
    assert bool(commands) != bool(answers)


@given(st.dictionaries(request_names, json_values))
def test_a_wrong_request_raises_what_can_be_told(fields: dict[str, Any]) -> None:
    try:
        start = start_of(Fields.decode(json.dumps(fields)))
    except BadRequest as error:
        assert error.message
    else:
        assert start.files
