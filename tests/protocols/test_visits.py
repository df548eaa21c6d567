"""runnerd.v1 in a space, frame by frame; and the exchange in docs/spaces.md, word for word."""

import json
import re
from pathlib import Path
from typing import Any

import pytest

from runnerd.protocols import Authenticate, Event, Input, Output, Resize, Started, visits
from runnerd.protocols.spaces import Person, Warned
from runnerd.protocols.terminal import TerminalAdapter
from tests.protocols.test_terminal import receive, refused

DOCUMENT = (Path(__file__).parents[2] / "docs/spaces.md").read_text()
HOST, ADA = Person("host", "#22c55e", True), Person("ada", "#6366f1", False)
EVENTS: list[Event] = [
    visits.Entered(ADA, [HOST, ADA], []),
    visits.Terminals([visits.TerminalItem("1", 24, 80, 1, 0, 0)]),
    visits.Attached(1, "1", 24, 80, False),
    Started(1, "n1-5f0c.t1", "", "terminal", {}),
    Output(1, "stdout", 0, b"$ "),
    Output(1, "stdout", 2, b"ls\r\na.py\r\n"),
    visits.Resized(1, 20, 80),
    visits.Detached(2),
]
COMMANDS = [
    visits.Enter("n1-9be1", "ada", "#6366f1"),
    visits.OpenTerminal(1, None, 24, 80),
    Input(1, b"ls\n"),
    visits.AttachTerminal(2, "1", 2, 20, 100, False),
    Resize(2, 30, 100),
    visits.ListTerminals(),
    visits.Detach(2),
    visits.CloseTerminal("1"),
]


def frames(mark: str) -> list[Any]:
    block = re.search(r"```exchange\n(.*?)```", DOCUMENT, re.DOTALL)
    assert block is not None
    lines = [line[2:] for line in block[1].splitlines() if line.startswith(mark)]
    return [bytes.fromhex(line.removeprefix("hex ")) if line.startswith("hex ") else line for line in lines]


def test_the_documents_exchange_is_true() -> None:
    adapter = TerminalAdapter()
    asked = [adapter.receive(frame) for frame in frames(">")]
    assert [answers for _, answers in asked if answers] == []
    assert [command for commands, _ in asked for command in commands] == COMMANDS
    told = [frame for event in EVENTS for frame in adapter.send(event)]
    for frame, written in zip(told, frames("<"), strict=True):
        if isinstance(frame, bytes):
            assert frame == written
        else:
            assert json.loads(frame) == json.loads(written)


def test_what_may_be_left_out() -> None:
    assert receive(type="join", join="k") == visits.Enter("k", "member", "#6366f1")
    assert receive(type="open", terminal=" tests ") == visits.OpenTerminal(1, "tests", 24, 80)
    assert receive(type="attach", terminal="1", read_only=True) == visits.AttachTerminal(1, "1", 0, 24, 80, True)
    commands, _ = TerminalAdapter().receive('{"type": "join", "join": "k", "key": "rk_1"}')
    assert commands == [Authenticate("rk_1"), visits.Enter("k", "member", "#6366f1")]


@pytest.mark.parametrize(
    ("frame", "words"),
    [
        ({"type": "join"}, "join is missing"),
        ({"type": "join", "join": "k", "user": "a\nb"}, "user is"),
        ({"type": "join", "join": "k", "user": "x" * 65}, "user is"),
        ({"type": "open", "terminal": ""}, "terminal is"),
        ({"type": "open", "rows": 0}, "rows is 0"),
        ({"type": "attach"}, "terminal is missing"),
        ({"type": "attach", "terminal": "1", "offset": -1}, "offset is -1"),
        ({"type": "attach", "terminal": "1", "read_only": 1}, "read_only is 1"),
        ({"type": "detach", "stream": "x"}, 'stream is "x"'),
        ({"type": "close"}, "terminal is missing"),
    ],
)
def test_what_is_refused(frame: dict[str, Any], words: str) -> None:
    told = refused(json.dumps(frame))
    assert told["code"] == "bad_request"
    assert words in told["message"]


def test_every_message_is_documented() -> None:
    words = ["join", "open", "attach", "detach", "list", "close", "terminals", "size", "detached", "joined", "left"]
    for word in [*words, "warning", "read_only", "offset", "viewers"]:
        assert f"`{word}`" in DOCUMENT, word


def test_members_and_warnings() -> None:
    adapter = TerminalAdapter()
    told = adapter.send(visits.MembersChanged(ADA, "left", [HOST]), Warned("soon", 60.0))
    left, warned = (json.loads(frame) for frame in told)
    assert left == {
        "type": "left",
        "user": "ada",
        "color": "#6366f1",
        "members": [{"user": "host", "color": "#22c55e", "host": True}],
    }
    assert warned == {"type": "warning", "message": "soon", "seconds": 60.0}
