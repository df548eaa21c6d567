"""Protocol 002 frame by frame, without a socket. The published frames are its service's own."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runnerd.errors import NotFound
from runnerd.protocols import Draining, Ended, Failed, Frame, Output, Pong, Skipped, Started, StateChanged
from runnerd.protocols import Event as TerminalEvent
from runnerd.protocols.spaces import (
    Came,
    Changed,
    Chunk,
    Command,
    Content,
    Create,
    Curl,
    Delete,
    Event,
    Fetched,
    Init,
    Item,
    Join,
    Kill,
    Left,
    List,
    Listing,
    Made,
    Missed,
    NewKey,
    Person,
    Press,
    Preview,
    Previewed,
    Project,
    ProjectMade,
    Read,
    Rename,
    Revoke,
    Shell,
    Warned,
    Welcome,
    Write,
)
from runnerd.protocols.spaces.adapter import COMMANDS, SpacesAdapter

ADA, BOB = Person("ada", "#22c55e", True), Person("collaborator", "#6366f1", False)
PEOPLE = [
    {"user": "ada", "color": "#22c55e", "host": True},
    {"user": "collaborator", "color": "#6366f1", "host": False},
]
NEWLINE = {"type": "terminal-newline", "data": ""}
END = {"type": "terminal-data-end"}

INIT = """{
  "type": "init",
  "public_key": "YOUR_PUBLIC_KEY",
  "secret_key": "YOUR_SECRET_KEY"
}"""
JOIN = """{
  "type": "join",
  "join": "GENERATED_JOIN_KEY",
  "user": "collaborator",
  "color": "#6366f1"
}"""
PROJECT = (
    r"""{
  "type": "cmd",
  "project_name": "unified_workspace",
  "command": { "type": "project" },
  "file_structure": "{\"name\":\"project\",\"type\":\"folder\",\"children\":"""
    r"""[{\"name\":\"main.py\",\"type\":\"file\",\"content\":\"print('Root File Loaded Successfully')\"}]}"
}"""
)
CREATE = """{
  "type": "cmd",
  "project_name": "unified_workspace",
  "command": {
    "type": "create",
    "item": "file",
    "name": "utils.py",
    "rpath": "",
    "path": "project/utils.py",
    "root": {},
    "targetElementData": {}
  }
}"""
WRITE = r"""{
  "type": "cmd",
  "project_name": "unified_workspace",
  "command": { "type": "write" },
  "path": "project/utils.py",
  "content": "def test_node():\n    return 'Utility Active'"
}"""
RENAME = """{
  "type": "cmd",
  "project_name": "unified_workspace",
  "command": {
    "type": "rename"
  },
  "path": "project/utils.py",
  "rpath": "utils.py",
  "name": "core_utils.py",
  "root": {}
}"""
DELETE = """{
  "type": "cmd",
  "project_name": "unified_workspace",
  "command": {
    "type": "delete"
  },
  "path": "project/core_utils.py",
  "rpath": "core_utils.py",
  "targetElementData": {}
}"""
SHELL = """{
  "type": "cmd",
  "project_name": "unified_workspace",
  "command": {
    "type": "shell",
    "command": "cd project && python -u main.py"
  }
}"""
STOP = """{
  "type": "cmd",
  "project_name": "unified_workspace",
  "command": {
    "type": "shell",
    "command": "Ctrl+C"
  }
}"""


CURL = """{
  "type": "cmd",
  "project_name": "unified_workspace",
  "command": { "type": "curl" },
  "method": "GET",
  "url": "http://localhost:3000",
  "headers": {},
  "data": ""
}"""


def asked(frame: str) -> Command:
    commands, answers = SpacesAdapter().receive(frame)
    assert not answers
    (command,) = commands
    return command


def cmd(kind: str, **fields: Any) -> str:
    inner = {name: fields.pop(name) for name in ("item", "command") if name in fields}
    if kind == "create":
        inner["path"] = fields.pop("path", None)
    return json.dumps({"type": "cmd", "command": {"type": kind, **inner}, **fields})


def refused(frame: Frame) -> dict[str, Any]:
    commands, answers = SpacesAdapter().receive(frame)
    assert not commands
    (answer,) = answers
    assert isinstance(answer, str)
    error = json.loads(answer)
    assert error["type"] == "error"
    assert error["message"]
    return error


def told(*events: Event | TerminalEvent) -> list[dict[str, Any]]:
    adapter = SpacesAdapter()
    return [json.loads(frame) for event in events for frame in adapter.send(event)]


def out(text: str) -> Output:
    return Output(0, "stdout", 0, text.encode())


def ended(outcome: str = "exited", message: str = "") -> Ended:
    return Ended(0, outcome, 0, None, message, 0, 0, 0, {})


def data(text: str) -> dict[str, Any]:
    return {"type": "terminal-data", "data": text}


def test_what_is_published_is_understood() -> None:
    assert asked(INIT) == Init("YOUR_PUBLIC_KEY:YOUR_SECRET_KEY", "host", "#22c55e")
    assert asked(JOIN) == Join("GENERATED_JOIN_KEY", "collaborator", "#6366f1")
    assert asked(PROJECT) == Project(("project",), {"project/main.py": b"print('Root File Loaded Successfully')"})
    assert asked(CREATE) == Create("project/utils.py", folder=False)
    assert asked(WRITE) == Write("project/utils.py", b"def test_node():\n    return 'Utility Active'")
    assert asked(RENAME) == Rename("project/utils.py", "core_utils.py")
    assert asked(DELETE) == Delete("project/core_utils.py")
    assert asked(SHELL) == Shell("cd project && python -u main.py")
    assert asked('{"type":"cmd","command":{"type":"preview"},"port":3000}') == Preview(3000)
    assert asked(CURL) == Curl("GET", "http://localhost:3000", {}, b"")
    assert asked(STOP) == Press(b"\x03")


def test_what_is_published_is_answered() -> None:
    assert told(Made("GENERATED_JOIN_KEY", 999)) == [
        {"type": "init", "join": "GENERATED_JOIN_KEY", "remaining_credits": 999}
    ]
    assert told(Welcome("GENERATED_JOIN_KEY", BOB, [ADA, BOB])) == [
        {
            "type": "join",
            "join": "GENERATED_JOIN_KEY",
            "user": "collaborator",
            "color": "#6366f1",
            "members": PEOPLE,
        }
    ]
    assert told(ProjectMade()) == [{"type": "msg", "message": "project created"}]


def test_step_7_as_published() -> None:
    assert told(out("Root File Loaded Successfully\n"), ended()) == [
        data("Root File Loaded Successfully"),
        NEWLINE,
        END,
    ]


def test_steps_9_and_10_as_published() -> None:
    text = "Engine Captured Input Data Block: CloudIDEEngineAdminUserPassed"
    assert told(
        out("PROMPT: Enter Target String Name:"),
        StateChanged(0, "waiting"),
        StateChanged(0, "running"),
        out(text + "\n"),
        ended(),
    ) == [data("PROMPT: Enter Target String Name:"), NEWLINE, data(text), NEWLINE, END]


def test_steps_11_and_13_as_published() -> None:
    line = "Serving HTTP on 0.0.0.0 port 3000 (http://0.0.0.0:3000/) ..."
    assert told(out(line + "\n"), ended("signal")) == [data(line), NEWLINE, END]


def test_lines_and_parts_of_lines() -> None:
    assert told(out("a")) == [data("a")]
    assert told(out("a"), out("b\n")) == [data("a"), data("b"), NEWLINE]
    assert told(out("\n\na\n\nb")) == [NEWLINE, NEWLINE, data("a"), NEWLINE, NEWLINE, data("b")]
    assert told(out("\x1b[31mred\x1b[0m\n")) == [data("\x1b[31mred\x1b[0m"), NEWLINE]
    assert told(StateChanged(0, "waiting")) == []
    assert told(out("a\n"), StateChanged(0, "waiting")) == [data("a"), NEWLINE]
    assert told(out("a"), StateChanged(0, "waiting"), StateChanged(0, "waiting")) == [data("a"), NEWLINE]
    assert told(out("a"), ended(), StateChanged(0, "waiting")) == [data("a"), END]
    assert told(out("a"), Skipped(0, 7), out("b")) == [
        data("a"),
        NEWLINE,
        {"type": "terminal-skipped", "bytes": 7},
        data("b"),
    ]
    assert told(Output(0, "stdout", 0, b"\xff\n")) == [data("�"), NEWLINE]


@given(st.lists(st.text("ab\n\r", max_size=6)))
def test_text_comes_through_however_it_is_cut(parts: list[str]) -> None:
    frames = told(*map(out, parts))
    assert all("\n" not in each["data"] and (each == NEWLINE or each["data"]) for each in frames)
    assert "".join(each["data"] or "\n" for each in frames) == "".join(parts)


@pytest.mark.parametrize("outcome", ["exited", "signal", "killed"])
def test_ends_that_explain_themselves(outcome: str) -> None:
    assert told(ended(outcome)) == [END]


def test_other_ends_are_explained_first() -> None:
    assert told(ended("output", "the program wrote more than 9 bytes")) == [
        {"type": "error", "message": "the program wrote more than 9 bytes", "code": "output", "hint": ""},
        END,
    ]


def test_what_is_not_told() -> None:
    assert told(Started(0, "s", "", "split", {}), StateChanged(0, "running"), Pong(None, 0.0), Draining(1.0)) == []


def test_news() -> None:
    assert told(Came(BOB, [ADA, BOB])) == [
        {"type": "joined", "user": "collaborator", "color": "#6366f1", "members": PEOPLE}
    ]
    assert told(Left(BOB, [ADA])) == [
        {"type": "left", "user": "collaborator", "color": "#6366f1", "members": PEOPLE[:1]}
    ]
    assert told(Changed("ada", "write", "a/b")) == [{"type": "change", "change": "write", "path": "a/b", "user": "ada"}]
    assert told(Changed("ada", "rename", "a/b", "a/c")) == [
        {"type": "change", "change": "rename", "path": "a/b", "to": "a/c", "user": "ada"}
    ]
    assert told(Missed([ADA])) == [{"type": "missed", "members": PEOPLE[:1]}]
    assert told(NewKey("k")) == [{"type": "revoke", "join": "k"}]
    assert told(Warned("soon", 60.0)) == [{"type": "warning", "message": "soon", "seconds": 60.0}]
    assert told(Made("k", None)) == [{"type": "init", "join": "k", "remaining_credits": None}]
    assert told(Failed(None, NotFound("gone", hint="look elsewhere"))) == [
        {"type": "error", "message": "gone", "code": "not_found", "hint": "look elsewhere"}
    ]


def test_answers() -> None:
    assert told(Content("a", "é\n".encode())) == [{"type": "file", "path": "a", "content": "é\n"}]
    assert told(Content("a", b"\xff\0")) == [{"type": "file", "path": "a", "content": {"base64": "/wA="}}]
    assert told(Listing("", [Item("a", "file", 3, 9)], more=True)) == [
        {"type": "list", "path": "", "items": [{"name": "a", "type": "file", "size": 3, "mtime": 9}], "more": True}
    ]


def test_what_curl_gets() -> None:
    assert told(Previewed(3000, "/preview/...", 60.0)) == [
        {"type": "preview", "port": 3000, "url": "/preview/...", "expires": 60.0}
    ]
    assert told(Chunk("<!DOCTYPE html>"), Fetched(200, {"Server": "x"})) == [
        {"type": "chunk", "content": "<!DOCTYPE html>"},
        {"type": "end", "status": 200, "headers": {"Server": "x"}},
    ]


def test_what_is_ours() -> None:
    assert asked(cmd("curl", url="u", method="POST", headers={"A": "b"}, data={"base64": "/w=="})) == Curl(
        "POST", "u", {"A": "b"}, b"\xff"
    )
    assert asked(cmd("curl", url="u")) == Curl("GET", "u", {}, b"")
    assert asked('{"type": "revoke"}') == Revoke()
    assert asked(cmd("read", path="a")) == Read("a")
    assert asked(cmd("list")) == List("")
    assert asked(cmd("list", path="a/")) == List("a")
    assert asked(cmd("create", item="folder", path="a")) == Create("a", folder=True)
    assert asked(cmd("write", path="a", content={"base64": "/wA="})) == Write("a", b"\xff\0")
    assert asked('{"type": "init"}') == Init(None, "host", "#22c55e")
    assert asked('{"type": "join", "join": "k", "public_key": "p", "secret_key": "s"}') == Join(
        "k", "member", "#6366f1", "p:s"
    )


@pytest.mark.parametrize(
    ("text", "command"),
    [
        ("Ctrl+D", Press(b"\x04")),
        ("Ctrl+Z", Press(b"\x1a")),
        ("Ctrl+\\", Press(b"\x1c")),
        ("Kill", Kill()),
        ("kill", Shell("kill")),
        (" Ctrl+C", Shell(" Ctrl+C")),
        ("", Shell("")),
    ],
)
def test_keys(text: str, command: Command) -> None:
    assert asked(cmd("shell", command=text)) == command


@pytest.mark.parametrize(("path", "clean"), [("a//b", "a/b"), ("./a", "a"), ("a/./b/", "a/b"), ("a" * 255, "a" * 255)])
def test_paths_have_one_form(path: str, clean: str) -> None:
    assert asked(cmd("read", path=path)) == Read(clean)


@pytest.mark.parametrize(
    ("path", "words"),
    [
        ("/etc/passwd", "absolute"),
        ("../x", "'..'"),
        ("a/../../x", "'..'"),
        ("..", "'..'"),
        ("a\0b", "a\\x00b"),
        ("", "names nothing"),
        (".", "names nothing"),
        ("./", "names nothing"),
        ("a" * 256, "holds the name"),
        ("é" * 128, "holds the name"),
        ("/".join(["a" * 200] * 30), "longer than 4096"),
        (None, "path is missing"),
        (3, "path is 3"),
    ],
)
@pytest.mark.parametrize("kind", ["create", "write", "rename", "delete", "read"])
def test_paths_that_cannot_be(kind: str, path: Any, words: str) -> None:
    assert words in refused(cmd(kind, path=path, content="", name="n"))["message"]


@pytest.mark.parametrize("name", ["", ".", "..", "a/b", "/a", "a\0", "a" * 256, None, 3, ["a"]])
def test_names_that_cannot_be(name: Any) -> None:
    assert "name" in refused(cmd("rename", path="a", name=name))["message"]


def project(tree: Any) -> str:
    return cmd("project", file_structure=tree)


def folder(name: str, *children: Any) -> dict[str, Any]:
    return {"name": name, "type": "folder", "children": list(children)}


def test_a_project_as_an_object_and_in_full() -> None:
    tree = folder("a", folder("b", {"name": "c", "type": "file", "content": {"base64": "AA=="}}), folder("d"))
    tree["children"].append({"name": "e", "type": "file"})
    expected = Project(("a", "a/b", "a/d"), {"a/b/c": b"\0", "a/e": b""})
    assert asked(project(tree)) == asked(project(json.dumps(tree))) == expected
    assert asked(project({"name": "x", "type": "folder"})) == Project(("x",), {})
    assert asked(project({"name": "x", "type": "file", "content": "y"})) == Project((), {"x": b"y"})


@pytest.mark.parametrize(
    ("tree", "words"),
    [
        (None, "file_structure is missing"),
        (3, "file_structure is 3"),
        ("{", "not JSON"),
        ("[]", "not a JSON object"),
        ({}, "name is missing"),
        ({"name": "a"}, "type is missing"),
        ({"name": "a", "type": "link"}, "'link'"),
        ({"name": "..", "type": "file"}, "'..'"),
        ({"name": "a/b", "type": "file"}, "'a/b'"),
        (folder("a", 3), "holds 3"),
        (folder("a", {"name": "b" * 256, "type": "file"}), "bbb"),
        ({"name": "a", "type": "folder", "children": {}}, "children is an object"),
        ({"name": "a", "type": "file", "content": 3}, "content is 3"),
        (folder("a", *[{"name": str(n), "type": "file"} for n in range(20_000)]), "more than 20000"),
    ],
)
def test_projects_that_cannot_be(tree: Any, words: str) -> None:
    assert words in refused(project(tree))["message"]


def test_a_deep_project_is_refused_by_its_path() -> None:
    tree = folder("bottom")
    for _ in range(400):
        tree = folder("a" * 20, tree)
    assert "longer than 4096" in refused(project(tree))["message"]


@pytest.mark.parametrize(
    ("frame", "code"),
    [
        (b"{}", "bad_request"),
        ("{", "not_json"),
        ("[" * 100_000, "not_json"),
        ("3", "not_json"),
        ("{}", "bad_request"),
        ('{"type": 3}', "bad_request"),
        ('{"type": "dance"}', "unknown_type"),
        ('{"type": "cmd"}', "bad_request"),
        ('{"type": "cmd", "command": "shell"}', "bad_request"),
        ('{"type": "cmd", "command": {"type": "dance"}}', "unknown_type"),
        ('{"type": "cmd", "command": {"type": "shell"}}', "bad_request"),
        ('{"type": "cmd", "command": {"type": "create", "path": "a", "item": "fifo"}}', "bad_request"),
        ('{"type": "cmd", "command": {"type": "curl"}}', "bad_request"),
        ('{"type": "cmd", "command": {"type": "curl"}, "url": "u", "headers": {"a": 3}}', "bad_request"),
        ('{"type": "cmd", "command": {"type": "curl"}, "url": "u", "headers": []}', "bad_request"),
        ('{"type": "cmd", "command": {"type": "curl"}, "url": "u", "data": 3}', "bad_request"),
        ('{"type": "join"}', "bad_request"),
        ('{"type": "join", "join": "k", "user": "a\\nb"}', "bad_request"),
        ('{"type": "join", "join": "k", "user": " "}', "bad_request"),
        ('{"type": "join", "join": "k", "color": "' + "x" * 65 + '"}', "bad_request"),
        ('{"type": "init", "public_key": "p"}', "bad_request"),
        ('{"type": "init", "secret_key": "s"}', "bad_request"),
    ],
)
def test_bad_frames(frame: Frame, code: str) -> None:
    assert refused(frame)["code"] == code


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)
FIELDS = st.sampled_from(["path", "content", "name", "file_structure", "join", "user", "color", "public_key"])


@given(st.sampled_from(["init", "join", "revoke", "cmd"]), st.sampled_from(COMMANDS) | JSON, st.data())
def test_nothing_raises(kind: str, command: Any, draw: st.DataObject) -> None:
    inner = draw.draw(st.dictionaries(st.sampled_from(["item", "path", "command"]), JSON))
    fields = draw.draw(st.dictionaries(FIELDS, JSON))
    frame = json.dumps({"type": kind, "command": {"type": command, **inner}, **fields})
    commands, answers = SpacesAdapter().receive(frame)
    assert len(commands) + len(answers) == 1
