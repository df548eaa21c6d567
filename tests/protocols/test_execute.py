"""Protocol 000 frame by frame, without a socket; and in any order."""

import json
from itertools import count
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, multiple, precondition, rule

from runnerd.errors import BadRequest, Busy, RunnerdError
from runnerd.protocols import (
    Authenticate,
    CloseInput,
    Draining,
    Ended,
    Failed,
    Frame,
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
from runnerd.protocols.execute import Collector, ExecuteAdapter, StreamAdapter

SESSION = "n1-0a1b"
EMPTY = {"stdout": "", "stderr": "", "execution_time": 0}
"""What published clients look at in every answer, also in an error's before a run."""


class Clock:
    """Seconds, as a test sets them."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def adapter(clock: Clock | None = None) -> ExecuteAdapter:
    return ExecuteAdapter(count(), clock or Clock())


def execute(**fields: Any) -> str:
    return json.dumps({"action": "execute", "language": "python", "code": "1", **fields})


def started(stream: int = 0, session: str = SESSION) -> Started:
    return Started(stream, session, "python", "split", {"box": 1.0})


def ended(stream: int = 0, outcome: str = "exited", code: int | None = 0, **changes: Any) -> Ended:
    fields = {"signal": None, "message": "", "cpu": 0.25, "memory": 4096, "wall": 0.5, "timings": {}, **changes}
    return Ended(stream, outcome, code, **fields)


def frame_of(frame: Frame) -> dict[str, Any]:
    assert isinstance(frame, str)
    fields = json.loads(frame)
    assert isinstance(fields, dict)
    return fields


def running(clock: Clock | None = None, **fields: Any) -> ExecuteAdapter:
    """An adapter whose stream 0 runs."""
    one = adapter(clock)
    one.receive(execute(**fields))
    assert one.send(started()) == []
    return one


def refused(frame: Frame, one: Any = None) -> dict[str, Any]:
    """The error that a frame is answered with."""
    commands, answers = (one or adapter()).receive(frame)
    assert not commands
    (answer,) = answers
    error = frame_of(answer)
    assert EMPTY.items() <= error.items()
    return error


# --- what the client says --------------------------------------------------------------------------------------


def test_the_published_message() -> None:
    message = {"action": "execute", "language": "python", "code": 'print("Hello from WebSocket!")', "api_key": "k"}
    commands, answers = adapter().receive(json.dumps(message))
    assert not answers
    code = b'print("Hello from WebSocket!")'
    start = Start(0, "python", profile="execute", files={"": code}, mode="split")
    assert commands == [Authenticate("k"), start]


def test_execute_in_full() -> None:
    (start,), _ = adapter().receive(
        execute(
            id="mine",
            timeout=2.5,
            args=["a", "é"],
            files={"lib/x.py": "y", "bin": {"base64": "AAH/"}},
            main="lib/x.py",
            env={"A": "1"},
            tty=True,
            rows=30,
            cols=100,
            limits={"memory": 1e6, "wall": 9},
            unknown="ignored",
        )
    )
    assert start == Start(
        0,
        "python",
        profile="execute",
        files={"lib/x.py": b"y", "bin": b"\x00\x01\xff", "": b"1"},
        main="lib/x.py",
        args=("a", "é"),
        env={"A": "1"},
        mode="terminal",
        rows=30,
        cols=100,
        limits={"memory": 1e6, "wall": 2.5},
    )


@pytest.mark.parametrize(
    ("fields", "mode", "stdin"),
    [
        ({}, "split", None),
        ({"tty": False}, "split", None),
        ({"tty": True}, "terminal", None),
        ({"stdin": ""}, "pipes", b""),
        ({"stdin": "in\n"}, "pipes", b"in\n"),
        ({"stdin": {"base64": "AP8="}}, "pipes", b"\0\xff"),
        ({"stdin": "x", "tty": True}, "pipes", b"x"),
        ({"stdin": None, "tty": None, "timeout": None, "args": None, "files": None, "env": None}, "split", None),
    ],
)
def test_input_that_is_given_comes_through_pipes(fields: dict[str, Any], mode: str, stdin: bytes | None) -> None:
    (start,), _ = adapter().receive(execute(**fields))
    assert isinstance(start, Start)
    assert (start.mode, start.stdin) == (mode, stdin)


@pytest.mark.parametrize(
    ("fields", "command"),
    [
        ({"action": "stdin", "data": "é\n"}, Input(0, "é\n".encode())),
        ({"action": "stdin", "data": "a\0b"}, Input(0, b"a\0b")),
        ({"action": "stdin", "data": {"base64": "AAE="}}, Input(0, b"\0\1")),
        ({"action": "eof"}, CloseInput(0)),
        ({"action": "signal", "signal": "INT"}, Signal(0, "INT")),
        ({"action": "signal", "signal": "sigterm"}, Signal(0, "TERM")),
        ({"action": "resize", "rows": 1, "cols": 1000}, Resize(0, 1, 1000)),
        ({"action": "kill"}, Kill(0)),
        ({"action": "kill", "id": "a"}, Kill(0)),
        ({"action": "ping"}, Ping(None)),
        ({"action": "ping", "id": 7}, Ping(7)),
    ],
)
def test_controls(fields: dict[str, Any], command: object) -> None:
    assert running(id="a").receive(json.dumps(fields)) == ([command], [])


def test_controls_come_before_the_start_is_told() -> None:
    one = adapter()
    one.receive(execute())
    assert one.receive('{"action": "stdin", "data": "x"}') == ([Input(0, b"x")], [])


@pytest.mark.parametrize("action", ["stdin", "eof", "signal", "resize", "kill"])
def test_controls_need_a_program(action: str) -> None:
    message = json.dumps({"action": action, "data": "", "signal": "INT", "rows": 1, "cols": 1})
    assert refused(message)["code"] == "not_running"
    one = running(id="a")
    assert refused(message.replace("}", ', "id": "b"}'), one)["code"] == "not_running"
    one.send(ended())
    assert refused(message, one)["code"] == "not_running"


def test_a_run_without_an_id_of_the_clients_goes_by_the_one_it_was_told() -> None:
    one = running()
    assert one.receive(json.dumps({"action": "kill", "id": SESSION})) == ([Kill(0)], [])
    assert refused('{"action": "kill", "id": "other"}', one)["code"] == "not_running"


def test_controls_without_an_id_are_for_the_last_run() -> None:
    one = running(id="a")
    one.receive(execute(id="b"))
    assert one.receive('{"action": "kill"}') == ([Kill(1)], [])
    assert one.receive('{"action": "kill", "id": "a"}') == ([Kill(0)], [])


@pytest.mark.parametrize(
    ("first", "second", "busy"),
    [
        (None, None, True),
        ("a", None, True),
        ("a", "a", True),
        ("a", "b", False),
        (1, "1", False),
        (0, 0, True),
        (None, "b", False),
        (None, SESSION, True),
    ],
)
def test_a_second_program_needs_another_id(first: Any, second: Any, busy: bool) -> None:
    one = running(id=first)
    message = execute(id=second)
    if busy:
        error = refused(message, one)
        assert (error["code"], error["retry_after"], error.get("id")) == ("busy", 1, second)
    else:
        commands, answers = one.receive(message)
        assert (len(commands), answers) == (1, [])
    one.send(ended())
    assert bool(one.receive(execute(id="c"))[0])


BAD: list[tuple[Frame, str, str]] = [
    ("nonsense", "not_json", "not JSON"),
    ("", "not_json", "not JSON"),
    ('{"action": "execute", "code": "', "not_json", "not JSON"),
    ("[]", "not_json", "object"),
    ("null", "not_json", "object"),
    ("[" * 100_000, "not_json", "not JSON"),
    ('{"action": "execute", "language": "\\ud800"}', "not_json", "not JSON"),
    ('{"action": "execute", "language": "\\udc00x"}', "not_json", "not JSON"),
    ('{"action": "\ud800"}', "not_json", "not JSON"),
    (b'{"action": "ping"}', "bad_request", "frames are text"),
    (b"\xff\xfe", "bad_request", "frames are text"),
    ("{}", "bad_request", "action is missing"),
    ('{"action": 3}', "bad_request", "action is 3"),
    ('{"action": null}', "bad_request", "action is missing"),
    ('{"action": "dance"}', "unknown_type", "dance"),
    ('{"action": "execute\\u0000"}', "unknown_type", "execute"),
    ('{"action": "execute", "code": "1"}', "bad_request", "language is missing"),
    ('{"action": "execute", "language": "python"}', "bad_request", "code is missing"),
    ('{"action": "execute", "language": "python", "files": {}}', "bad_request", "code is missing"),
]
WRONG: list[tuple[dict[str, Any], str]] = [
    ({"language": 3}, "language is 3"),
    ({"language": ["c"]}, "language is a list"),
    ({"code": {"a": 1}}, "code is an object"),
    ({"code": 1.5}, "code is 1.5"),
    ({"api_key": 1}, "api_key is 1"),
    ({"main": []}, "main is a list"),
    ({"args": "a"}, 'args is "a"'),
    ({"args": [1]}, "args holds 1"),
    ({"args": [[]]}, "args holds a list"),
    ({"args": ["a\0"]}, "NUL"),
    ({"files": []}, "files is a list"),
    ({"files": {"x": 3}}, "files.x is 3"),
    ({"files": {"x": None}}, "files.x is missing"),
    ({"files": {"x": {}}}, "files.x is an object"),
    ({"files": {"x": {"base64": "!"}}}, "not base64"),
    ({"files": {"x": {"base64": "AAA"}}}, "not base64"),
    ({"files": {"x": {"base64": "é"}}}, "not base64"),
    ({"files": {"x": {"base64": 3}}}, "files.x is an object"),
    ({"files": {"": "x"}}, "path ''"),
    ({"files": {"/x": "x"}}, "path '/x'"),
    ({"files": {"a/../../x": "x"}}, "path 'a/../../x'"),
    ({"files": {"a\0": "x"}}, "path"),
    ({"files": {"x" * 5000: "x"}}, "path"),
    ({"files": {str(n): "" for n in range(1001)}}, "1001 files"),
    ({"env": []}, "env is a list"),
    ({"env": {"A": 1}}, "env.A holds 1"),
    ({"env": {"A": "\0"}}, "NUL"),
    ({"env": {"A=B": ""}}, "'A=B'"),
    ({"env": {"": ""}}, "the name ''"),
    ({"tty": 1}, "tty is 1"),
    ({"tty": "yes"}, 'tty is "yes"'),
    ({"rows": 0}, "rows is 0"),
    ({"rows": True}, "rows is true"),
    ({"rows": 1.5}, "rows is 1.5"),
    ({"cols": 1001}, "cols is 1001"),
    ({"cols": 10**30}, "cols is 1000"),
    ({"stdin": 3}, "stdin is 3"),
    ({"stdin": []}, "stdin is a list"),
    ({"stdin": {"base64": "*"}}, "stdin is not base64"),
    ({"timeout": "10"}, 'timeout is "10"'),
    ({"timeout": True}, "timeout is true"),
    ({"timeout": 0}, "timeout is 0"),
    ({"timeout": -1}, "timeout is -1"),
    ({"timeout": 1e300}, "timeout is 1e300"),
    ({"timeout": 10**400}, "timeout is 1000"),
    ({"timeout": {}}, "timeout is an object"),
    ({"limits": 3}, "limits is 3"),
    ({"limits": {"wall": 0}}, "limits.wall is 0"),
    ({"limits": {"wall": "1"}}, "limits.wall"),
    ({"id": 1.5}, "id is 1.5"),
    ({"id": True}, "id is true"),
    ({"id": {}}, "id is an object"),
]


@pytest.mark.parametrize(("frame", "code", "words"), BAD, ids=lambda value: ascii(value)[:40])
def test_bad_frames_are_answered(frame: Frame, code: str, words: str) -> None:
    error = refused(frame)
    assert error["code"] == code
    assert words in error["error"]
    assert set(error) == {"error", "code", "hint", *EMPTY}


@pytest.mark.parametrize(("fields", "words"), WRONG, ids=lambda value: ascii(value)[:40])
def test_every_field_of_execute_is_checked(fields: dict[str, Any], words: str) -> None:
    error = refused(execute(**fields))
    assert error["code"] == "bad_request"
    assert words in error["error"]
    assert len(json.dumps(error)) < 400


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"action": "stdin"}, "data is missing"),
        ({"action": "stdin", "data": 3}, "data is 3"),
        ({"action": "stdin", "data": {"base64": "!"}}, "data is not base64"),
        ({"action": "signal"}, "signal is missing"),
        ({"action": "signal", "signal": "../"}, "signal is '../'"),
        ({"action": "signal", "signal": 2}, "signal is 2"),
        ({"action": "signal", "signal": "INT\0"}, "signal is"),
        ({"action": "resize", "rows": 5}, "cols is missing"),
        ({"action": "resize", "rows": "5", "cols": 5}, 'rows is "5"'),
    ],
)
def test_every_field_of_controls_is_checked(fields: dict[str, Any], words: str) -> None:
    error = refused(json.dumps(fields), running())
    assert error["code"] == "bad_request"
    assert words in error["error"]


def test_an_error_echoes_the_clients_id() -> None:
    assert refused('{"action": "dance", "id": "mine"}')["id"] == "mine"
    assert refused(execute(id=7, timeout=0))["id"] == 7


@pytest.mark.parametrize("digits", [19, 20, 100, 4299, 4300, 4301, 10_000])
def test_numbers_of_any_length_are_answered(digits: int) -> None:
    number = "9" * digits
    for name in ("rows", "timeout", "language", "stdin", "args"):
        assert refused(f'{{"action": "execute", "language": "c", "code": "", "{name}": {number}}}')["code"]
    one = adapter()
    commands, answers = one.receive(f'{{"action": "ping", "id": {number}}}')
    for command in commands:
        assert isinstance(command, Ping)
        answers = one.send(Pong(command.id, 1.0))
    assert len(answers) == 1
    frame_of(answers[0])


# --- what is told ----------------------------------------------------------------------------------------------


def test_a_run_is_told_as_published() -> None:
    clock = Clock()
    one = running(clock)
    clock.now += 0.0184
    (first,) = one.send(Output(0, "stdout", 0, b"Hello\n"))
    assert frame_of(first) == {"stdout": "Hello\n", "stderr": "", "execution_time": 18.4, "id": SESSION}
    (second,) = one.send(Output(0, "stderr", 6, b"oops"))
    assert (frame_of(second)["stdout"], frame_of(second)["stderr"]) == ("", "oops")
    clock.now += 1
    (last,) = one.send(ended(code=3))
    assert frame_of(last) == {
        "stdout": "",
        "stderr": "",
        "execution_time": 1018.4,
        "exit_code": 3,
        "outcome": "exited",
        "usage": {"cpu": 0.25, "memory": 4096, "wall": 0.5},
        "id": SESSION,
    }


def test_output_and_end_join_when_both_are_known() -> None:
    (frame,) = running().send(Output(0, "stdout", 0, b"all"), ended())
    assert frame_of(frame)["stdout"] == "all"
    assert frame_of(frame)["exit_code"] == 0


def test_only_the_last_output_joins_the_end() -> None:
    first, last = running().send(Output(0, "stdout", 0, b"a"), Output(0, "stderr", 1, b"b"), ended())
    assert "exit_code" not in frame_of(first)
    assert (frame_of(last)["stderr"], frame_of(last)["exit_code"]) == ("b", 0)


def test_a_start_that_is_known_with_the_end_counts() -> None:
    one = adapter()
    one.receive(execute())
    (frame,) = one.send(started(), Output(0, "stdout", 0, b"a"), ended())
    assert frame_of(frame)["id"] == SESSION


@pytest.mark.parametrize(
    ("outcome", "changes", "more"),
    [
        ("exited", {"code": 1}, {}),
        ("signal", {"code": None, "signal": "SEGV"}, {"signal": "SEGV"}),
        ("wall", {"code": None, "message": "10 s are over"}, {"message": "10 s are over"}),
        *((each, {"code": None}, {}) for each in ("idle", "cpu", "memory", "processes", "output", "killed")),
        ("compile_error", {"code": 1}, {}),
        ("failed", {"code": None, "message": "no box"}, {"message": "no box"}),
    ],
)
def test_every_outcome_is_told(outcome: str, changes: dict[str, Any], more: dict[str, Any]) -> None:
    (last,) = running().send(ended(outcome=outcome, **changes))
    fields = frame_of(last)
    assert (fields["outcome"], fields["exit_code"]) == (outcome, changes["code"])
    assert {name: fields[name] for name in ("signal", "message") if name in fields} == more


def test_a_run_that_ends_before_it_began() -> None:
    one = adapter()
    one.receive(execute(id="a"))
    (last,) = one.send(ended(outcome="killed", code=None))
    assert (frame_of(last)["execution_time"], frame_of(last)["id"]) == (0, "a")


def test_a_refused_start_is_told_with_the_clients_id_and_frees_it() -> None:
    one = adapter()
    one.receive(execute(id="a"))
    (frame,) = one.send(Failed(0, Busy("full", retry_after=2), over=True))
    assert frame_of(frame) == {
        **EMPTY,
        "error": "full",
        "code": "busy",
        "hint": "try again in 2 s",
        "retry_after": 2,
        "id": "a",
    }
    assert one.receive(execute(id="a"))[0]


def test_an_error_about_one_message_leaves_the_run() -> None:
    clock = Clock()
    one = running(clock)
    clock.now += 0.25
    (frame,) = one.send(Failed(0, BadRequest("too much", code="input_overflow")))
    assert frame_of(frame) == {
        "error": "too much",
        "code": "input_overflow",
        "hint": "",
        "stdout": "",
        "stderr": "",
        "execution_time": 250,
        "id": SESSION,
    }
    assert one.receive('{"action": "eof"}')[0] == [CloseInput(0)]


def test_an_error_about_a_run_that_is_over_or_of_the_connection_has_no_id() -> None:
    one = running()
    one.send(ended())
    for stream in (None, 0):
        (frame,) = one.send(Failed(stream, BadRequest("late")))
        assert "id" not in frame_of(frame)


def test_pong() -> None:
    (frame,) = adapter().send(Pong("p", 5.5))
    assert frame_of(frame) == {
        "stdout": "",
        "stderr": "",
        "execution_time": 0,
        "pong": True,
        "time": 5.5,
        "id": "p",
    }


def test_output_that_is_left_out_is_told_by_its_size() -> None:
    (frame,) = running().send(Skipped(0, 5))
    answer = json.loads(frame)
    assert (answer["stdout"], answer["stderr"], answer["skipped"]) == ("", "", 5)


def test_states_and_the_daemons_stop_are_not_told() -> None:
    one = running()
    assert one.send(StateChanged(0, "waiting")) == []
    assert one.send(Draining(3)) == []


@given(st.binary())
def test_any_bytes_are_told_as_text(data: bytes) -> None:
    (frame,) = running().send(Output(0, "stdout", 0, data))
    assert frame_of(frame)["stdout"] == data.decode(errors="replace")


# --- in any order ----------------------------------------------------------------------------------------------

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=6,
)
ids = st.sampled_from([None, 0, 1, "a", "b"])
ACTIONS = ["execute", "stdin", "eof", "signal", "resize", "kill", "ping", "dance"]
NAMES = [
    "language",
    "code",
    "api_key",
    "id",
    "data",
    "signal",
    "rows",
    "cols",
    "timeout",
    "stdin",
    "args",
    "files",
    "main",
    "env",
    "tty",
    "limits",
]


class Conversation(RuleBasedStateMachine):
    """Messages as a client may send them, and events as a conversation may tell them."""

    streams = Bundle("streams")

    def __init__(self) -> None:
        super().__init__()
        self.clock = Clock()
        self.adapter = adapter(self.clock)
        self.ids: dict[int, Any] = {}
        self.sessions: dict[int, str] = {}

    def check(self, frame: Frame, stream: int | None = None) -> dict[str, Any]:
        fields = frame_of(frame)
        if "error" in fields:
            assert isinstance(fields["error"], str)
            assert fields["code"]
            assert (fields["stdout"], fields["stderr"]) == ("", "")
        assert isinstance(fields["stdout"], str)
        assert isinstance(fields["stderr"], str)
        assert isinstance(fields["execution_time"], int | float)
        assert fields["execution_time"] >= 0
        if stream is not None:
            name = self.ids[stream] if self.ids[stream] is not None else self.sessions.get(stream)
            assert fields.get("id") == name
        return fields

    def send(self, *events: Any) -> list[dict[str, Any]]:
        stream = events[0].stream
        return [self.check(frame, stream) for frame in self.adapter.send(*events)]

    @rule(target=streams, name=ids, api_key=st.sampled_from([None, "k"]))
    def execute(self, name: Any, api_key: str | None) -> Any:
        commands, answers = self.adapter.receive(execute(id=name, api_key=api_key))
        if answers:
            assert self.check(answers[0])["code"] == "busy"
            assert self.ids
            assert name is None or name in self.ids.values()
            return multiple()
        *before, start = commands
        assert before == ([Authenticate("k")] if api_key else [])
        assert isinstance(start, Start)
        assert start.stream not in self.ids
        self.ids[start.stream] = name
        return start.stream

    @rule(action=st.sampled_from(ACTIONS[1:]), fields=st.dictionaries(st.sampled_from(NAMES), json_values))
    def message(self, action: str, fields: dict[str, Any]) -> None:
        commands, answers = self.adapter.receive(json.dumps({**fields, "action": action}))
        assert bool(commands) != bool(answers)
        for command in commands:
            assert isinstance(command, Ping) or command.stream in self.ids  # type: ignore[union-attr]
        for answer in answers:
            assert "error" in self.check(answer)

    @rule(frame=st.text() | st.binary())
    def noise(self, frame: Frame) -> None:
        commands, answers = self.adapter.receive(frame)
        assert not commands
        assert len(answers) == 1
        assert "error" in self.check(answers[0])

    @rule(stream=streams, seconds=st.floats(0, 100))
    def start(self, stream: int, seconds: float) -> None:
        self.clock.now += seconds
        if stream not in self.sessions:
            self.sessions[stream] = f"n1-{stream}"
            assert self.send(started(stream, f"n1-{stream}")) == []

    @rule(stream=streams, data=st.binary(), channel=st.sampled_from(["stdout", "stderr"]))
    def output(self, stream: int, data: bytes, channel: Any) -> None:
        (fields,) = self.send(Output(stream, channel, 0, data))
        assert fields[channel] == data.decode(errors="replace")
        assert "exit_code" not in fields
        assert "error" not in fields

    @rule(stream=streams)
    def fail(self, stream: int) -> None:
        (fields,) = self.send(Failed(stream, BadRequest("no")))
        assert fields["error"] == "no"

    @rule(stream=consumes(streams))
    def refuse(self, stream: int) -> None:
        (fields,) = self.send(Failed(stream, BadRequest("no"), over=True))
        assert fields["error"] == "no"
        del self.ids[stream]

    @rule(stream=consumes(streams), data=st.none() | st.binary())
    def end(self, stream: int, data: bytes | None) -> None:
        before = [] if data is None else [Output(stream, "stdout", 0, data)]
        (fields,) = self.send(*before, ended(stream))
        assert fields["stdout"] == (data or b"").decode(errors="replace")
        assert {"exit_code", "outcome", "usage"} <= set(fields)
        del self.ids[stream]

    @precondition(lambda self: not self.ids)
    @rule()
    def idle(self) -> None:
        assert refused('{"action": "kill"}', self.adapter)["code"] == "not_running"


TestConversation = Conversation.TestCase
TestConversation.settings = settings(max_examples=60, stateful_step_count=30, deadline=None)


@given(st.dictionaries(st.sampled_from(NAMES), json_values))
def test_no_field_of_execute_raises(fields: dict[str, Any]) -> None:
    one = adapter()
    commands, answers = one.receive(json.dumps({"language": "c", "code": "", **fields, "action": "execute"}))
    assert bool(commands) != bool(answers)
    collector = Collector(Clock())
    commands, answers = collector.receive(json.dumps(fields))
    assert not answers
    assert bool(commands) != (collector.error is not None)


@pytest.mark.parametrize("opening", ["[", '{"a":'])
def test_no_depth_of_nesting_raises(opening: str) -> None:
    closing = "]" if opening == "[" else "}"
    for depth in [*range(1, 50), *range(50, 1200, 7)]:
        nested = f"{opening * depth}1{closing * depth}"
        for name in ("language", "files", "env", "args", "stdin", "id", "tty"):
            assert refused(f'{{"action": "execute", "code": "", "language": "c", "{name}": {nested}}}')


# --- one request, one answer -----------------------------------------------------------------------------------


def test_one_answer_to_one_request() -> None:
    clock = Clock()
    collector = Collector(clock)
    commands, answers = collector.receive(b'{"language": "python", "code": "1", "timeout": 10}')
    assert commands == [Start(0, "python", profile="execute", files={"": b"1"}, mode="pipes", limits={"wall": 10.0})]
    assert not answers
    collector.send(started())
    collector.send(Output(0, "stdout", 0, b"caf\xc3"), StateChanged(0, "waiting"), Draining(3))
    collector.send(Output(0, "stderr", 4, b"\xff"))
    collector.send(Output(0, "stdout", 5, b"\xa9\n"))
    clock.now += 0.0871
    assert collector.answer is None
    collector.send(ended(outcome="signal", code=None, signal="KILL", message="m"))
    assert collector.error is None
    assert collector.answer == {
        "stdout": "café\n",
        "stderr": "�",
        "exit_code": None,
        "execution_time": "87ms",
        "outcome": "signal",
        "signal": "KILL",
        "message": "m",
        "usage": {"cpu": 0.25, "memory": 4096, "wall": 0.5},
        "id": SESSION,
    }


@pytest.mark.parametrize("kind", [Collector, StreamAdapter])
def test_the_key_may_be_in_the_request(kind: Any) -> None:
    commands, _ = kind(Clock()).receive(b'{"language": "c", "code": "", "api_key": "k"}')
    assert commands[0] == Authenticate("k")
    assert isinstance(commands[1], Start)


@pytest.mark.parametrize("kind", [Collector, StreamAdapter])
@pytest.mark.parametrize("body", [b"", b"\xff", b"[]", b"{}", b'{"language": "c"}', b'{"language": "c", "code": 3}'])
def test_a_bad_request_is_kept_for_the_status(kind: Any, body: bytes) -> None:
    one = kind(Clock())
    assert one.receive(body) == ([], [])
    assert isinstance(one.error, RunnerdError)
    assert one.error.status == 400


@pytest.mark.parametrize("kind", [Collector, StreamAdapter])
def test_what_keeps_a_request_from_being_run(kind: Any) -> None:
    one = kind(Clock())
    one.receive(b'{"language": "c", "code": ""}')
    refusal = Busy("full", retry_after=1)
    assert one.send(Failed(0, refusal, over=True)) == []
    assert one.error is refusal


@pytest.mark.parametrize(
    ("given", "told"), [({}, SESSION), ({"id": None}, SESSION), ({"id": "mine"}, "mine"), ({"id": 0}, 0)]
)
def test_the_one_answer_has_the_clients_id_or_the_runs(given: dict[str, Any], told: Any) -> None:
    collector = Collector(Clock())
    collector.receive(json.dumps({"language": "c", "code": "", **given}))
    collector.send(started())
    collector.send(ended())
    assert collector.answer is not None
    assert collector.answer["id"] == told


@pytest.mark.parametrize("id", [1.5, True, [], {}])
@pytest.mark.parametrize("kind", [Collector, StreamAdapter])
def test_an_id_is_checked_in_requests_too(kind: Any, id: Any) -> None:
    one = kind(Clock())
    one.receive(json.dumps({"language": "c", "code": "", "id": id}))
    assert one.error is not None
    assert "id is" in one.error.message


def test_a_stream_answers_as_a_connection_does() -> None:
    one = StreamAdapter(Clock())
    (start,), _ = one.receive(b'{"language": "c", "code": "", "id": "mine"}')
    assert isinstance(start, Start)
    assert start.mode == "pipes"
    assert one.send(started()) == []
    (first,) = one.send(Output(0, "stdout", 0, b"x"))
    assert frame_of(first) == {"stdout": "x", "stderr": "", "execution_time": 0, "id": "mine"}
    (last,) = one.send(ended())
    assert frame_of(last)["exit_code"] == 0
    assert one.error is None


def test_an_error_while_a_stream_runs_is_among_its_frames() -> None:
    one = StreamAdapter(Clock())
    one.receive(b'{"language": "c", "code": ""}')
    one.send(started())
    (frame,) = one.send(Failed(None, BadRequest("revoked")))
    assert frame_of(frame)["error"] == "revoked"
    assert one.error is None
