"""Protocol 001 frame by frame, without a socket; and in any order."""

import json
from itertools import count
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, precondition, rule

from runnerd.errors import BadRequest, Busy
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
from runnerd.protocols.widget import WidgetAdapter

RUN = {"code": "print()", "language": "python", "token": "t"}


def adapter() -> WidgetAdapter:
    return WidgetAdapter(count())


def message(event: str, **data: Any) -> str:
    return json.dumps({"event": event, "data": data})


def ended(outcome: str = "exited", code: int | None = 0, signal: str | None = None, message: str = "") -> Ended:
    return Ended(0, outcome, code, signal, message, 0.25, 4096, 0.5, {})


def running() -> WidgetAdapter:
    one = adapter()
    one.receive(message("run_code", **RUN))
    assert one.send(Started(0, "n1-0a1b", "python", "split", {})) == []
    return one


def told(one: WidgetAdapter, *events: Event) -> list[tuple[str, dict[str, Any]]]:
    """(event, data) of each frame."""
    return [frame_of(frame) for frame in one.send(*events)]


def frame_of(frame: Frame) -> tuple[str, dict[str, Any]]:
    assert isinstance(frame, str)
    fields = json.loads(frame)
    assert set(fields) == {"event", "data"}
    return fields["event"], fields["data"]


def refused(frame: Frame, one: WidgetAdapter | None = None) -> dict[str, Any]:
    """The data of the error that a frame is answered with."""
    commands, answers = (one or adapter()).receive(frame)
    assert not commands
    (answer,) = answers
    event, data = frame_of(answer)
    assert event == "error"
    assert {"message", "code", "hint"} <= set(data)
    return data


def test_the_published_messages() -> None:
    one = adapter()
    run = (
        '{"event": "run_code", "data": {"code": "name = input(\'Name: \')\\nprint(\'Hello \' + name)",'
        ' "language": "python", "token": "timestamp_signature_string"}}'
    )
    code = b"name = input('Name: ')\nprint('Hello ' + name)"
    start = Start(0, "python", profile="widget", token="timestamp_signature_string", files={"": code}, mode="split")
    assert one.receive(run) == ([start], [])
    (frame,) = one.send(Output(0, "stdout", 0, b"Name: "))
    assert frame == '{"event":"stdout","data":{"text":"Name: "}}'
    stdin = '{"event": "stdin", "data": {"text": "Rajesh\\n"}}'
    assert one.receive(stdin) == ([Input(0, b"Rajesh\n")], [])


def test_run_code_in_full_and_in_short() -> None:
    (start,), _ = adapter().receive(message("run_code", **RUN, rows=30, cols=100, unknown=1))
    assert start == Start(
        0, "python", profile="widget", token="t", files={"": b"print()"}, mode="split", rows=30, cols=100
    )
    (start,), _ = adapter().receive(message("run_code", code="", language="c", token=None))
    assert start == Start(0, "c", profile="widget", token=None, files={"": b""}, mode="split")


@pytest.mark.parametrize(
    ("frame", "command"),
    [
        (message("stdin", text="é\n"), Input(0, "é\n".encode())),
        (message("stdin", text="a\0"), Input(0, b"a\0")),
        (message("stdin", text=""), Input(0, b"")),
        (message("eof"), CloseInput(0)),
        ('{"event": "eof"}', CloseInput(0)),
        ('{"event": "kill", "data": null}', Kill(0)),
        (message("signal", signal="INT"), Signal(0, "INT")),
        (message("resize", rows=1, cols=1000), Resize(0, 1, 1000)),
    ],
)
def test_controls(frame: str, command: object) -> None:
    assert running().receive(frame) == ([command], [])


@pytest.mark.parametrize("event", ["stdin", "eof", "signal", "resize", "kill"])
def test_controls_need_a_program(event: str) -> None:
    frame = message(event, text="", signal="INT", rows=1, cols=1)
    assert refused(frame)["code"] == "not_running"
    one = running()
    one.send(ended())
    assert refused(frame, one)["code"] == "not_running"


def test_one_program_at_a_time() -> None:
    one = running()
    assert refused(message("run_code", **RUN), one)["retry_after"] == 1
    one.send(ended())
    (start,), _ = one.receive(message("run_code", **RUN))
    assert isinstance(start, Start)
    assert start.stream == 1


@pytest.mark.parametrize(
    ("frame", "code", "words"),
    [
        ("nonsense", "not_json", "not JSON"),
        ('{"event": "run_code", "data": {', "not_json", "not JSON"),
        ("[]", "not_json", "object"),
        ("[" * 100_000, "not_json", "not JSON"),
        ('{"event": "\\ud800"}', "not_json", "not JSON"),
        ('{"event": "\ud800"}', "not_json", "not JSON"),
        (b"{}", "bad_request", "frames are text"),
        ("{}", "bad_request", "event is missing"),
        ('{"event": 3}', "bad_request", "event is 3"),
        ('{"event": []}', "bad_request", "event is a list"),
        ('{"event": "dance"}', "unknown_type", "dance"),
        ('{"event": "run_code"}', "bad_request", "language is missing"),
        ('{"event": "run_code", "data": []}', "bad_request", "data is a list"),
        ('{"event": "run_code", "data": "x"}', "bad_request", 'data is "x"'),
        (message("run_code", language="c"), "bad_request", "code is missing"),
        (message("run_code", code=""), "bad_request", "language is missing"),
        (message("run_code", **{**RUN, "code": 3}), "bad_request", "code is 3"),
        (message("run_code", **{**RUN, "code": {"base64": "AA=="}}), "bad_request", "code is an object"),
        (message("run_code", **{**RUN, "language": []}), "bad_request", "language is a list"),
        (message("run_code", **{**RUN, "language": 10**4000}), "bad_request", "language is"),
        (message("run_code", **{**RUN, "token": 3}), "bad_request", "token is 3"),
        (message("run_code", **RUN, rows=0), "bad_request", "rows is 0"),
        (message("run_code", **RUN, cols="80"), "bad_request", 'cols is "80"'),
        (message("run_code", **RUN, cols=10**400), "bad_request", "cols is 1000"),
    ],
    ids=lambda value: ascii(value)[:50],
)
def test_bad_frames_are_answered(frame: Frame, code: str, words: str) -> None:
    error = refused(frame)
    assert error["code"] == code
    assert words in error["message"]
    assert len(json.dumps(error)) < 400


@pytest.mark.parametrize(
    ("frame", "words"),
    [
        (message("stdin"), "text is missing"),
        (message("stdin", text=3), "text is 3"),
        (message("stdin", text={"base64": "AA=="}), "text is an object"),
        (message("signal"), "signal is missing"),
        (message("signal", signal="../"), "signal is '../'"),
        (message("resize", rows=5), "cols is missing"),
        (message("resize", rows=True, cols=5), "rows is true"),
    ],
)
def test_every_field_of_controls_is_checked(frame: str, words: str) -> None:
    assert words in refused(frame, running())["message"]


@pytest.mark.parametrize("name", ["code", "language", "token", "rows", "cols"])
@pytest.mark.parametrize("value", [3.5, True, [], {}, {"base64": "AA=="}, 10**400])
def test_every_field_of_run_code_is_checked(name: str, value: Any) -> None:
    error = refused(message("run_code", **{**RUN, name: value}))
    assert (error["code"], name in error["message"]) == ("bad_request", True)
    assert len(json.dumps(error)) < 400


def test_output_and_end() -> None:
    one = running()
    assert told(one, Output(0, "stderr", 0, b"oops\xff")) == [("stderr", {"text": "oops�"})]
    assert told(one, Output(0, "stdout", 5, b"x"), ended(code=3)) == [
        ("stdout", {"text": "x"}),
        ("exit", {"code": 3, "outcome": "exited", "signal": None, "message": ""}),
    ]
    one = running()
    assert told(one, ended("wall", None, "KILL", "60 s are over")) == [
        ("exit", {"code": None, "outcome": "wall", "signal": "KILL", "message": "60 s are over"})
    ]


def test_errors() -> None:
    one = running()
    assert told(one, Failed(0, BadRequest("too much", code="input_overflow"))) == [
        ("error", {"message": "too much", "code": "input_overflow", "hint": ""})
    ]
    assert one.receive(message("kill"))[0] == [Kill(0)]
    busy = {"message": "full", "code": "busy", "hint": "try again in 2 s", "retry_after": 2}
    assert told(one, Failed(0, Busy("full", retry_after=2), over=True)) == [("error", busy)]
    assert one.receive(message("run_code", **RUN))[0]


def test_an_error_that_belongs_to_no_run_ends_none() -> None:
    one = running()
    assert len(told(one, Failed(None, BadRequest("x"), over=True))) == 1
    assert len(told(one, Failed(7, BadRequest("x"), over=True))) == 1
    assert one.receive(message("kill"))[0] == [Kill(0)]


def test_other_events_are_not_told() -> None:
    assert running().send(StateChanged(0, "waiting"), Draining(3), Pong(1, 1.0)) == []


def test_output_that_is_left_out() -> None:
    (frame,) = running().send(Skipped(0, 5))
    assert json.loads(frame) == {"event": "skipped", "data": {"bytes": 5}}


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=6,
)
EVENTS = ["run_code", "stdin", "eof", "signal", "resize", "kill", "dance"]
NAMES = ["code", "language", "token", "text", "signal", "rows", "cols"]


class Conversation(RuleBasedStateMachine):
    """Messages as a client may send them, and events as a conversation may tell them."""

    def __init__(self) -> None:
        super().__init__()
        self.adapter = adapter()
        self.stream: int | None = None
        self.used: set[int] = set()

    @rule()
    def run_code(self) -> None:
        commands, answers = self.adapter.receive(message("run_code", **RUN))
        assert bool(commands) == (self.stream is None) != bool(answers)
        for command in commands:
            assert isinstance(command, Start)
            assert command.stream not in self.used
            self.stream = command.stream
            self.used.add(command.stream)
        for answer in answers:
            assert frame_of(answer)[1]["code"] == "busy"

    @rule(event=st.sampled_from(EVENTS[1:]), data=json_values | st.dictionaries(st.sampled_from(NAMES), json_values))
    def message(self, event: str, data: Any) -> None:
        commands, answers = self.adapter.receive(json.dumps({"event": event, "data": data}))
        assert bool(commands) != bool(answers)
        assert all(command.stream == self.stream for command in commands)  # type: ignore[union-attr]
        assert all(frame_of(answer)[0] == "error" for answer in answers)

    @rule(data=st.dictionaries(st.sampled_from(NAMES), json_values))
    def wrong_run_code(self, data: dict[str, Any]) -> None:
        commands, answers = self.adapter.receive(json.dumps({"event": "run_code", "data": {**data, "rows": "x"}}))
        assert not commands
        assert frame_of(answers[0])[0] == "error"

    @rule(frame=st.text() | st.binary())
    def noise(self, frame: Frame) -> None:
        commands, answers = self.adapter.receive(frame)
        assert not commands
        assert [frame_of(answer)[0] for answer in answers] == ["error"]

    @precondition(lambda self: self.stream is not None)
    @rule(data=st.binary(), channel=st.sampled_from(["stdout", "stderr"]))
    def output(self, data: bytes, channel: Any) -> None:
        assert self.stream is not None
        events = told(self.adapter, Output(self.stream, channel, 0, data))
        assert events == [(channel, {"text": data.decode(errors="replace")})]

    @precondition(lambda self: self.stream is not None)
    @rule(how=st.sampled_from(["end", "refuse"]))
    def over(self, how: str) -> None:
        assert self.stream is not None
        refusal = Failed(self.stream, BadRequest("no"), over=True)
        ((event, _),) = told(self.adapter, ended() if how == "end" else refusal)
        assert event == {"end": "exit", "refuse": "error"}[how]
        self.stream = None

    @rule(event=st.sampled_from([Draining(1), Pong(None, 1.0), StateChanged(0, "waiting")]))
    def other(self, event: Event) -> None:
        assert self.adapter.send(event) == []


TestConversation = Conversation.TestCase
TestConversation.settings = settings(max_examples=60, stateful_step_count=30, deadline=None)


@given(st.sampled_from(EVENTS), st.dictionaries(st.sampled_from(NAMES), json_values))
def test_no_field_raises(event: str, data: dict[str, Any]) -> None:
    for one in (adapter(), running()):
        commands, answers = one.receive(json.dumps({"event": event, "data": data}))
        assert bool(commands) != bool(answers)
