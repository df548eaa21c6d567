"""The address that protocols 000 and 001 share: who is spoken to, and who is told what."""

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, multiple, rule

from runnerd.errors import BadRequest
from runnerd.protocols import Draining, Ended, Event, Failed, Frame, Input, Kill, Output, Pong, Start, Started
from runnerd.protocols.ws import WsAdapter

EXECUTE = '{"action": "execute", "language": "c", "code": "", "id": "mine"}'
UNNAMED = '{"action": "execute", "language": "c", "code": ""}'
RUN_CODE = '{"event": "run_code", "data": {"language": "c", "code": ""}}'


def adapter() -> WsAdapter:
    return WsAdapter(lambda: 1.0)


def start_of(one: WsAdapter, frame: str) -> Start:
    (start,), answers = one.receive(frame)
    assert not answers
    assert isinstance(start, Start)
    return start


def ended(stream: int) -> Ended:
    return Ended(stream, "exited", 0, None, "", 0.25, 4096, 0.5, {})


def spoken(frame: Frame) -> str:
    """The protocol that a frame is of."""
    fields = json.loads(frame)
    if set(fields) == {"event", "data"}:
        return "widget"
    assert {"stdout", "stderr", "execution_time"} <= set(fields)
    return "execute"


def test_each_message_goes_to_its_protocol() -> None:
    one = adapter()
    second, first = start_of(one, RUN_CODE), start_of(one, EXECUTE)
    assert (first.profile, second.profile) == ("execute", "widget")
    assert first.stream != second.stream
    assert one.receive('{"action": "kill"}') == ([Kill(first.stream)], [])
    stdin = '{"event": "stdin", "data": {"text": "x"}}'
    assert one.receive(stdin) == ([Input(second.stream, b"x")], [])


def test_each_run_is_told_in_its_own_protocol_whatever_was_said_last() -> None:
    one = adapter()
    second, first = start_of(one, RUN_CODE), start_of(one, EXECUTE)
    for stream, protocol in ((first.stream, "execute"), (second.stream, "widget")) * 2:
        (frame,) = one.send(Output(stream, "stdout", 0, b"x"))
        assert spoken(frame) == protocol
    assert one.send(Started(first.stream, "n1", "c", "split", {})) == []
    for stream, protocol in ((first.stream, "execute"), (second.stream, "widget")):
        *_, last = one.send(Output(stream, "stdout", 1, b"y"), ended(stream))
        assert spoken(last) == protocol


@pytest.mark.parametrize("event", [Failed(None, BadRequest("no")), Failed(9, BadRequest("no"))])
def test_what_belongs_to_no_run_is_told_as_the_client_spoke_last(event: Event) -> None:
    one = adapter()
    assert [spoken(frame) for frame in one.send(event)] == ["execute"]
    one.receive('{"event": "eof"}')
    assert [spoken(frame) for frame in one.send(event)] == ["widget"]
    one.receive('{"action": "eof"}')
    assert [spoken(frame) for frame in one.send(event)] == ["execute"]


@pytest.mark.parametrize("frame", ["{", "[]", "{}", '{"type": "start"}', b"\0", "\ud800", '{"action": null}'])
def test_what_is_of_neither_is_answered_as_the_client_spoke_last(frame: Frame) -> None:
    one = adapter()
    for message, protocol in ((None, "execute"), (RUN_CODE, "widget"), (EXECUTE, "execute"), (RUN_CODE, "widget")):
        if message is not None:
            one.receive(message)
        commands, (answer,) = one.receive(frame)
        assert not commands
        assert spoken(answer) == protocol


@pytest.mark.parametrize(
    ("first", "second", "busy"),
    [
        (UNNAMED, RUN_CODE, "widget"),
        (EXECUTE, RUN_CODE, "widget"),
        (RUN_CODE, RUN_CODE, "widget"),
        (RUN_CODE, UNNAMED, "execute"),
        (UNNAMED, UNNAMED, "execute"),
        (RUN_CODE, EXECUTE, None),
        (UNNAMED, EXECUTE, None),
    ],
)
def test_what_runs_in_one_protocol_makes_the_other_busy(first: str, second: str, busy: str | None) -> None:
    one = adapter()
    stream = start_of(one, first).stream
    commands, answers = one.receive(second)
    if busy is None:
        assert (len(commands), len(answers)) == (1, 0)
        return
    (answer,) = answers
    assert (list(commands), spoken(answer)) == ([], busy)
    assert '"code":"busy"' in str(answer)
    assert '"retry_after":1' in str(answer)
    one.send(ended(stream))
    start_of(one, second)


def test_an_action_comes_before_an_event() -> None:
    commands, _ = adapter().receive('{"event": "kill", "action": "ping"}')
    assert len(commands) == 1


def test_the_daemons_stop_is_told_to_nobody() -> None:
    assert adapter().send(Draining(3)) == []


class Conversation(RuleBasedStateMachine):
    """Runs of both protocols on one connection, in any order."""

    runs = Bundle("runs")

    def __init__(self) -> None:
        super().__init__()
        self.adapter = adapter()
        self.live: dict[int, str] = {}
        self.last = "execute"

    @rule(target=runs, protocol=st.sampled_from(["execute", "widget"]), name=st.sampled_from([None, "a", "b"]))
    def start(self, protocol: str, name: str | None) -> Any:
        message = RUN_CODE if protocol == "widget" else json.dumps({**json.loads(EXECUTE), "id": name})
        self.last = protocol
        commands, answers = self.adapter.receive(message)
        if answers:
            assert [spoken(answer) for answer in answers] == [protocol]
            assert self.live
            return multiple()
        (command,) = commands
        assert isinstance(command, Start)
        assert command.stream not in self.live
        assert not self.live or (protocol == "execute" and name is not None)
        self.live[command.stream] = protocol
        return command.stream

    @rule(stream=runs, data=st.binary())
    def output(self, stream: int, data: bytes) -> None:
        (frame,) = self.adapter.send(Output(stream, "stdout", 0, data))
        assert spoken(frame) == self.live[stream]

    @rule(stream=runs)
    def fail(self, stream: int) -> None:
        (frame,) = self.adapter.send(Failed(stream, BadRequest("no")))
        assert spoken(frame) == self.live[stream]

    @rule(stream=consumes(runs), how=st.sampled_from(["end", "refuse"]))
    def over(self, stream: int, how: str) -> None:
        event = ended(stream) if how == "end" else Failed(stream, BadRequest("no"), over=True)
        (frame,) = self.adapter.send(event)
        assert spoken(frame) == self.live.pop(stream)

    @rule(frame=st.text() | st.binary())
    def noise(self, frame: Frame) -> None:
        commands, answers = self.adapter.receive(frame)
        assert not commands
        assert [spoken(answer) for answer in answers] == [self.last]

    @rule()
    def ping(self) -> None:
        self.adapter.receive('{"action": "ping"}')
        self.last = "execute"
        assert [spoken(frame) for frame in self.adapter.send(Pong(None, 1.0))] == ["execute"]


TestConversation = Conversation.TestCase
TestConversation.settings = settings(max_examples=60, stateful_step_count=30, deadline=None)


@given(st.dictionaries(st.sampled_from(["action", "event", "data", "id"]), st.text() | st.integers() | st.none()))
def test_nothing_raises(fields: dict[str, Any]) -> None:
    commands, answers = adapter().receive(json.dumps(fields))
    assert bool(commands) != bool(answers)
