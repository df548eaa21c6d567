"""Every error, in every protocol that can be told it: in the protocol's own words, and what comes next still works."""

import ast
import json
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from errno import EACCES
from pathlib import Path
from typing import Any

import httpx
import pytest
import trio
from server_fakes import FakeSession, Served, serve, until
from trio_websocket import ConnectionClosed, WebSocketConnection, open_websocket_url

from runnerd import tokens
from runnerd.errors import (
    BadRequest,
    BoxError,
    BrokenBox,
    Busy,
    Forbidden,
    InitRefused,
    KernelDied,
    NotFound,
    OutOfCredits,
    OverQuota,
    RunnerdError,
    SetupError,
    TooLarge,
    Unauthorized,
    UnknownLanguage,
)
from runnerd.filters import Filtered
from runnerd.server.conversation import EARLY_INPUT, SIGNALS
from runnerd.server.revocations import INTERVAL
from runnerd.store import NewKey, Rules
from runnerd.store.database import open_store
from runnerd.tokens import BadToken

PATIENCE = 20
BOMB = ":(){ :|:& };:"
WEBSOCKETS = {"terminal": "/api/v1/terminal", "execute": "/ws", "widget": "/ws", "session": "/ws/session/n1-fake0"}
POSTS = {"rest": "/api/v1/execute", "events": "/api/v1/execute", "new session": "/session"}
STARTERS = ["terminal", "execute", "widget", *POSTS]
"""Ways to start a run."""


class Told:
    """An error as one client heard it: `status` by HTTP, `fields` as every protocol has them, `frame` as it came."""

    def __init__(self, frame: dict[str, Any], status: int | None = None, headers: Any = None) -> None:
        self.frame, self.status, self.headers = frame, status, headers
        fields = frame.get("data", frame)
        names = ("message", "error", "code", "hint", "retry_after")
        self.fields = {"message" if name == "error" else name: fields[name] for name in names if name in fields}


def check_shape(protocol: str, told: Told) -> None:
    """That it is an error in the words of its protocol, and has nothing of another's."""
    frame = told.frame
    again = {"retry_after"} & set(told.fields)
    match protocol:
        case "terminal":
            assert set(frame) - {"stream"} == {"type", "message", "code", "hint", *again}
            assert frame["type"] == "error"
        case "execute":
            assert set(frame) - {"id"} == {"error", "code", "hint", "stdout", "stderr", "execution_time", *again}
            assert (frame["stdout"], frame["stderr"]) == ("", "")
        case "widget":
            assert set(frame) == {"event", "data"}
            assert frame["event"] == "error"
            assert set(frame["data"]) == {"message", "code", "hint", *again}
        case "session":
            assert set(frame) == {"type", "message", "code", "hint", *again}
            assert frame["type"] == "error"
        case _:
            assert set(frame) == {"type", "title", "status", "detail", "error", "code", "hint", *again}
            assert (frame["status"], frame["detail"]) == (told.status, frame["error"])
            assert told.headers["content-type"] == "application/problem+json"
            assert ("retry-after" in told.headers) == bool(again)
    assert told.fields["message"]
    assert "Traceback" not in json.dumps(frame)


class Caller:
    """A client that speaks one protocol, with `key` in its headers if it has one."""

    def __init__(self, served: Served, protocol: str, key: str | None = None) -> None:
        self.served, self.protocol = served, protocol
        self._key = key
        self.connection: WebSocketConnection | None = None

    @asynccontextmanager
    async def calling(self) -> AsyncIterator["Caller"]:
        async with AsyncExitStack() as stack:
            if self.protocol in WEBSOCKETS:
                url = f"ws://127.0.0.1:{self.served.port}{WEBSOCKETS[self.protocol]}"
                headers = [] if self._key is None else [(b"X-API-Key", self._key.encode())]
                spoken = ["runnerd.v1"] if self.protocol == "terminal" else None
                opened = open_websocket_url(url, extra_headers=headers, subprotocols=spoken)
                self.connection = await stack.enter_async_context(opened)
                stack.push_async_callback(self.connection._stream.aclose)
            else:
                client = httpx.AsyncClient(base_url=self.served.url, timeout=PATIENCE)
                self._http = await stack.enter_async_context(client)
            with trio.fail_after(PATIENCE):
                yield self

    async def say(self, what: str, **fields: Any) -> None:
        assert self.connection is not None
        match self.protocol:
            case "execute":
                message = {"action": what, **fields}
            case "widget":
                message = {"event": what, "data": fields}
            case _:
                message = {"type": what, **fields}
        await self.connection.send_message(json.dumps(message))

    async def hear(self) -> dict[str, Any]:
        assert self.connection is not None
        message = await self.connection.get_message()
        assert isinstance(message, str)
        return json.loads(message)

    async def error(self, protocol: str = "") -> Told:
        """The next frame but states, which must tell an error, in the words of `protocol` if not its own."""
        while (frame := await self.hear()).get("type") in ("state", "started"):
            pass
        told = Told(frame)
        check_shape(protocol or self.protocol, told)
        return told

    async def start(self, **fields: Any) -> None:
        """Over a WebSocket."""
        word = {"terminal": "start", "execute": "execute", "widget": "run_code"}[self.protocol]
        await self.say(word, **{"language": "echo", "code": "1", **fields})

    async def refused(self, **fields: Any) -> Told:
        """What a start is answered."""
        if self.connection is not None:
            await self.start(**fields)
            return await self.error()
        headers = {"Accept": "text/event-stream"} if self.protocol == "events" else {}
        if self._key is not None:
            headers["X-API-Key"] = self._key
        body = {"language": "echo", "code": "1", **fields}
        answer = await self._http.post(POSTS[self.protocol], json=body, headers=headers)
        told = Told(answer.json(), answer.status_code, answer.headers)
        check_shape(self.protocol, told)
        return told

    async def ready(self) -> None:
        """The daemon's registry is made when it serves: there is one after this."""
        await self.served.ask(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")

    async def make_session(self) -> None:
        """Which runs on."""
        answer = await self._http.post("/session", json={"language": "echo", "code": ""})
        assert answer.status_code == 200

    async def still_works(self) -> None:
        """A run starts, and ends as it should."""
        await self.ready()
        registry = self.served.registry
        registry.failure = None
        before = len(registry.started)
        async with trio.open_nursery() as nursery:
            if self.connection is not None:
                await self.start()
                await until(lambda: len(registry.started) > before)
                registry.started[-1].end()
                while (frame := await self.hear()).get("type") != "exit":
                    if "exit_code" in frame or frame.get("event") == "exit":
                        break
                return

            async def end() -> None:
                await until(lambda: len(registry.started) > before)
                registry.started[-1].end()

            nursery.start_soon(end)
            headers = {} if self._key is None else {"X-API-Key": self._key}
            answer = await self._http.post(POSTS[self.protocol], json={"language": "echo", "code": ""}, headers=headers)
            assert answer.status_code == 200


# --- what keeps a run from starting ----------------------------------------------------------------------------

STARTING: list[tuple[RunnerdError, int]] = [
    (BadRequest("no such thing", hint="h"), 400),
    (TooLarge("too much"), 413),
    (UnknownLanguage("unknown language", hint="known: echo"), 400),
    (Filtered("the rule x refuses it"), 400),
    (Unauthorized("a key is needed"), 401),
    (BadToken("the token is too old"), 401),
    (OutOfCredits("none left"), 402),
    (Forbidden("this key may not"), 403),
    (NotFound("there is no such profile"), 404),
    (OverQuota("2 of at most 2", retry_after=1.25), 429),
    (Busy("full", retry_after=3), 503),
    (KernelDied("the variables are lost", hint="the next run begins anew"), 410),
    (BoxError("bubblewrap ended"), 500),
    (BrokenBox("init ended"), 500),
    (InitRefused("write", EACCES, "a/b"), 400),
]
"""With their HTTP status."""


@pytest.mark.parametrize("protocol", STARTERS)
async def test_every_error_of_a_start_is_told_by_every_protocol(tmp_path: Path, protocol: str) -> None:
    async with serve(tmp_path) as served, Caller(served, protocol).calling() as caller:
        await caller.still_works()
        for error, status in STARTING:
            served.registry.failure = error
            told = await caller.refused()
            assert told.fields == error.fields(), error
            if protocol in POSTS:
                assert told.status == status, error
            if protocol in POSTS and isinstance(error, OverQuota | Busy):
                assert int(told.headers["retry-after"]) >= told.fields["retry_after"] > 0
        await caller.still_works()


@pytest.mark.parametrize("protocol", STARTERS)
@pytest.mark.parametrize("problem", [ZeroDivisionError("secret"), SetupError("no /secret"), OSError(5, "secret")])
async def test_what_is_the_daemons_own_is_told_by_reference(tmp_path: Path, protocol: str, problem: Exception) -> None:
    async with serve(tmp_path) as served, Caller(served, protocol).calling() as caller:
        await caller.ready()
        served.registry.failure = problem
        told = await caller.refused()
        assert told.fields["code"] == "internal"
        assert "reference" in told.fields["hint"]
        assert "secret" not in json.dumps(told.frame)
        assert told.status in (None, 500)
        await caller.still_works()


# --- what admission refuses, for real --------------------------------------------------------------------------


def new_key(tmp_path: Path, credits: int = 5, **rules: Any) -> NewKey:
    store = open_store("", tmp_path)
    try:
        return store.create_key(credits, rules=Rules(**rules))
    finally:
        store.close()


@pytest.mark.parametrize("protocol", STARTERS)
async def test_without_a_key(tmp_path: Path, protocol: str) -> None:
    new_key(tmp_path)
    settings = {"auth": {"mode": "keys"}}
    async with serve(tmp_path, settings) as served, Caller(served, protocol).calling() as caller:
        told = await caller.refused()
        assert (told.fields["code"], told.status) == ("unauthorized", 401 if protocol in POSTS else None)
        told = await caller.refused()  # and the connection went on


@pytest.mark.parametrize("protocol", [*STARTERS, "session"])
async def test_a_wrong_key(tmp_path: Path, protocol: str) -> None:
    async with serve(tmp_path) as served:
        async with Caller(served, "new session").calling() as caller:
            await caller.still_works()
        async with Caller(served, protocol, "wrong").calling() as caller:
            if caller.connection is None:
                told = await caller.refused()
                assert (told.fields["code"], told.status) == ("unauthorized", 401)
                assert told.headers["www-authenticate"] == "Bearer"
                return
            # Before anything is said, /ws speaks as execute does.
            told = await caller.error("execute" if protocol == "widget" else "")
            assert told.fields["code"] == "unauthorized"
            assert await closed(caller) == 4401


async def closed(caller: Caller) -> int:
    """What the server closes with, next."""
    with pytest.raises(ConnectionClosed) as caught:
        while True:
            await caller.hear()
    assert caught.value.reason is not None
    return caught.value.reason.code


@pytest.mark.parametrize("protocol", STARTERS)
async def test_quotas_credits_and_rules_are_told_by_every_protocol(tmp_path: Path, protocol: str) -> None:
    """The errors are admission's own: nothing is made to fail here."""
    profile = {"terminal": "default", "widget": "widget", "new session": "session"}.get(protocol, "execute")
    settings = {"auth": {"mode": "keys"}, "prices": {"profiles": {profile: 3}}}
    rich, poor = new_key(tmp_path, 6, runs_at_a_time=1), new_key(tmp_path, 2)
    slow = new_key(tmp_path, 9, runs_per_minute=1)
    barred = new_key(tmp_path, 6, profiles=("local",))
    async with serve(tmp_path, settings) as served:
        async with Caller(served, protocol, poor.secret_key).calling() as caller:
            told = await caller.refused()
            assert (told.fields["code"], told.status) == ("no_credits", 402 if protocol in POSTS else None)
            told = await caller.refused(code=BOMB)
            assert (told.fields["code"], told.status) == ("filtered", 400 if protocol in POSTS else None)
            assert "fork-bomb" in told.fields["message"]
        async with Caller(served, protocol, barred.secret_key).calling() as caller:
            told = await caller.refused()
            assert (told.fields["code"], told.status) == ("forbidden", 403 if protocol in POSTS else None)
            assert "local" in told.fields["hint"]
        async with (
            Caller(served, "execute", rich.secret_key).calling() as other,
            Caller(served, protocol, rich.secret_key).calling() as caller,
        ):
            told = await caller.refused(language="klingon")
            assert (told.fields["code"], told.status) == ("unknown_language", 400 if protocol in POSTS else None)
            before = len(served.registry.started)
            await other.start()
            await until(lambda: len(served.registry.started) > before)
            told = await caller.refused()
            assert (told.fields["code"], told.fields["retry_after"]) == ("quota", 1)
            assert told.status == (429 if protocol in POSTS else None)
            if protocol in POSTS:
                assert told.headers["retry-after"] == "1"
            served.registry.started[-1].end()
            assert (await other.hear())["outcome"] == "exited"
            await caller.still_works()
        async with Caller(served, protocol, slow.secret_key).calling() as caller:
            await caller.still_works()
            told = await caller.refused()
            assert told.fields["code"] == "quota"
            assert 50 < told.fields["retry_after"] <= 60
            if protocol in POSTS:
                assert told.status == 429
                assert 50 < int(told.headers["retry-after"]) <= 60


@pytest.mark.parametrize("protocol", STARTERS)
async def test_an_address_without_a_key_has_a_quota_of_its_own(tmp_path: Path, protocol: str) -> None:
    settings = {"quota": {"address": {"runs_per_minute": 1}}}
    async with serve(tmp_path, settings) as served, Caller(served, protocol).calling() as caller:
        await caller.still_works()
        told = await caller.refused()
        assert (told.fields["code"], told.status) == ("quota", 429 if protocol in POSTS else None)
        assert told.fields["retry_after"] > 50


async def test_tokens_that_are_wrong_are_told_and_the_connection_goes_on(tmp_path: Path) -> None:
    key, broke = new_key(tmp_path), new_key(tmp_path, 0)
    right = tokens.sign(key.public_key, key.secret_key, time.time())
    old = tokens.sign(key.public_key, key.secret_key, time.time() - 400)
    future = tokens.sign(key.public_key, key.secret_key, time.time() + 60)
    nobody = tokens.sign("rpk_nobody", key.secret_key, time.time())
    foreign = tokens.sign(key.public_key, broke.secret_key, time.time())
    poor = tokens.sign(broke.public_key, broke.secret_key, time.time())
    settings = {"auth": {"mode": "keys"}, "prices": {"run": 1}}
    async with serve(tmp_path, settings) as served, Caller(served, "widget").calling() as caller:
        for token, words in [
            (old, "too old"),
            (future, "from the future"),
            (nobody, "not known"),
            (foreign, "signature is wrong"),
            ("timestamp_signature_string", "malformed"),
            ("", "malformed"),
            ("\0.1_00", "malformed"),
        ]:
            told = await caller.refused(token=token)
            assert told.fields["code"] == "bad_token", token
            assert words in told.fields["message"]
        assert (await caller.refused(token=poor)).fields["code"] == "no_credits"
        await caller.start(token=right)
        await until(lambda: bool(served.registry.started))


@pytest.mark.parametrize("protocol", ["terminal", "execute", "widget"])
async def test_a_key_that_is_revoked_while_it_is_used(tmp_path: Path, protocol: str) -> None:
    key = new_key(tmp_path)
    settings = {"auth": {"mode": "keys"}}
    async with serve(tmp_path, settings) as served, Caller(served, protocol, key.secret_key).calling() as caller:
        await caller.still_works()
        store = open_store("", tmp_path)
        store.revoke(key.public_key)
        store.close()
        with trio.fail_after(5 * INTERVAL):
            told = await caller.error()
        assert (told.fields["code"], "revoked" in told.fields["message"]) == ("unauthorized", True)
        assert await closed(caller) == 4401


# --- what comes while a program runs ---------------------------------------------------------------------------

INPUT = {
    "terminal": ("input", "data"),
    "execute": ("stdin", "data"),
    "widget": ("stdin", "text"),
    "session": ("input", "data"),
}
LIVE: list[RunnerdError | Exception] = [
    BadRequest("the program's input has been closed", code="input_closed"),
    BadRequest("too much waits", code="input_overflow"),
    InitRefused("signal", EACCES),
    BrokenBox("init ended"),
    Busy("later", retry_after=0.5),
    ZeroDivisionError("secret"),
]


@asynccontextmanager
async def running(tmp_path: Path, protocol: str) -> AsyncIterator[tuple[Caller, FakeSession]]:
    """A client of a program that runs, and writes nothing by itself."""
    async with serve(tmp_path) as served:
        async with Caller(served, "new session").calling() as maker:
            if protocol == "session":
                await maker.make_session()
        async with Caller(served, protocol).calling() as caller:
            if protocol != "session":
                await caller.start()
                await until(lambda: bool(served.registry.started))
            session = served.registry.started[-1]
            session.echo = False
            yield caller, session


@pytest.mark.parametrize("protocol", WEBSOCKETS)
async def test_every_error_of_a_message_is_told_and_the_program_goes_on(tmp_path: Path, protocol: str) -> None:
    word, field = INPUT[protocol]
    async with running(tmp_path, protocol) as (caller, session):
        for problem in LIVE:
            session.failure = problem
            await caller.say(word, **{field: "x"})
            told = await caller.error()
            if isinstance(problem, RunnerdError):
                assert told.fields == problem.fields()
            else:
                assert (told.fields["code"], "secret" in str(told.frame)) == ("internal", False)
        session.failure = None
        await caller.say(word, **{field: "more"})
        await until(lambda: session.input == b"more")
        assert not session.killed.is_set()


@pytest.mark.parametrize("protocol", WEBSOCKETS)
async def test_too_many_signals(tmp_path: Path, protocol: str) -> None:
    async with running(tmp_path, protocol) as (caller, session):
        session.may_signal = trio.Event()
        for _ in range(SIGNALS + 1):
            await caller.say("signal", signal="INT")
        told = await caller.error()
        assert (told.fields["code"], told.fields["retry_after"]) == ("busy", 0.1)
        session.may_signal.set()
        await until(lambda: len(session.signals) == SIGNALS)


@pytest.mark.parametrize("protocol", ["terminal", "execute", "widget"])
async def test_too_much_input_for_a_program_that_has_not_started(tmp_path: Path, protocol: str) -> None:
    word, field = INPUT[protocol]
    async with serve(tmp_path) as served, Caller(served, protocol).calling() as caller:
        await caller.ready()
        served.registry.may_start = trio.Event()
        await caller.start()
        await caller.say(word, **{field: "x" * EARLY_INPUT})
        await caller.say(word, **{field: "y"})
        assert (await caller.error()).fields["code"] == "too_large"
        await caller.say("kill")
        last = await caller.hear()
        assert last.get("data", last)["outcome"] == "killed"
        served.registry.may_start.set()
        await caller.still_works()


@pytest.mark.parametrize(
    ("protocol", "code"), [("terminal", "not_found"), ("execute", "not_running"), ("widget", "not_running")]
)
async def test_messages_for_a_program_that_is_not_there(tmp_path: Path, protocol: str, code: str) -> None:
    async with serve(tmp_path) as served, Caller(served, protocol).calling() as caller:
        for word in (INPUT[protocol][0], "eof", "signal", "resize", "kill"):
            await caller.say(word, **{INPUT[protocol][1]: "", "signal": "INT", "rows": 1, "cols": 1})
            assert (await caller.error()).fields["code"] == code, word
        await caller.still_works()


@pytest.mark.parametrize("protocol", ["terminal", "execute", "widget"])
async def test_a_second_program(tmp_path: Path, protocol: str) -> None:
    async with running(tmp_path, protocol) as (caller, session):
        told = await caller.refused()
        code = "bad_request" if protocol == "terminal" else "busy"  # a stream's number, which the client chose
        assert told.fields["code"] == code
        assert not session.killed.is_set()


# --- frames that are none --------------------------------------------------------------------------------------

DEEP = "[" * 100_000
NONSENSE: list[str | bytes] = [
    "",
    "{",
    "[]",
    "null",
    "3",
    '"x"',
    DEEP,
    '{"a":' * 50_000,
    '{"x": "\\ud800"}',
    "{}",
    b"\1\2",
    b"",
]
WORDS = {"terminal": "type", "execute": "action", "widget": "event", "session": "type"}


@pytest.mark.parametrize("protocol", WEBSOCKETS)
async def test_nonsense_is_answered_and_the_connection_goes_on(tmp_path: Path, protocol: str) -> None:
    word = WORDS[protocol]
    wrong: list[Any] = [3, None, True, [], {}, "dance", "\0", 10**400, 1.5]
    async with running(tmp_path, protocol) as (caller, session):
        assert caller.connection is not None
        if protocol == "widget":
            await caller.say("dance")  # from now on this is what the address speaks
            await caller.error()
        for frame in [*NONSENSE, *(json.dumps({word: each, "data": {}}) for each in wrong)]:
            await caller.connection.send_message(frame)
            told = await caller.error()
            assert told.fields["code"] in ("not_json", "bad_request", "unknown_type"), frame
            assert len(json.dumps(told.frame)) < 500
        assert not session.killed.is_set()
        name, field = INPUT[protocol]
        await caller.say(name, **{field: "a\0b"})
        await until(lambda: session.input == b"a\0b")


@pytest.mark.parametrize("protocol", WEBSOCKETS)
async def test_text_that_is_not_utf8_ends_the_connection_as_the_standard_says(tmp_path: Path, protocol: str) -> None:
    async with running(tmp_path, protocol) as (caller, _):
        connection = caller.connection
        assert connection is not None
        mask = bytes(4)
        await connection._stream.send_all(b"\x81\x82" + mask + b"\xc3\x28")
        assert await closed(caller) == 1007


@pytest.mark.parametrize("protocol", WEBSOCKETS)
async def test_a_message_up_to_the_limit_and_beyond(tmp_path: Path, protocol: str) -> None:
    limit = 100_000
    word, field = INPUT[protocol]
    async with serve(tmp_path, {"http": {"message_size": limit}}) as served:
        async with Caller(served, "new session").calling() as maker:
            await maker.make_session()
        session = served.registry.started[-1]
        async with Caller(served, protocol).calling() as caller:
            if protocol != "session":
                before = len(served.registry.started)
                await caller.start(code="")
                await until(lambda: len(served.registry.started) > before)
                session = served.registry.started[-1]
            session.echo = False
            message = {"execute": {"action": word, field: ""}, "widget": {"event": word, "data": {field: ""}}}
            empty = json.dumps(message.get(protocol, {"type": word, field: ""}))
            whole = empty.replace('""', f'"{"x" * (limit - len(empty))}"')
            assert len(whole) == limit
            assert caller.connection is not None
            await caller.connection.send_message(whole)
            await until(lambda: len(session.input) == limit - len(empty))
            await caller.connection.send_message(whole + " ")
            assert await closed(caller) == 1009


# --- handshakes and other sites' pages -------------------------------------------------------------------------

ORIGIN = "https://course.example"


@pytest.mark.parametrize("protocol", WEBSOCKETS)
async def test_handshakes_that_are_refused(tmp_path: Path, protocol: str) -> None:
    path = WEBSOCKETS[protocol]
    async with serve(tmp_path, {"http": {"origins": [ORIGIN]}}) as served:
        async with Caller(served, "new session").calling() as maker:
            await maker.make_session()

        async def told(path: str = path, **headers: str) -> tuple[int, str]:
            given = {"Host": "localhost", "Sec-WebSocket-Version": "13", "Sec-WebSocket-Key": "A" * 22 + "=="}
            given |= {"Connection": "Upgrade", "Upgrade": "websocket"}
            given |= {name.replace("_", "-"): value for name, value in headers.items()}
            lines = [f"GET {path} HTTP/1.1", *(f"{name}: {value}" for name, value in given.items())]
            head, _, body = (await served.ask(("\r\n".join(lines) + "\r\n\r\n").encode())).partition(b"\r\n\r\n")
            assert b"application/problem+json" in head
            return int(head.split()[1]), json.loads(body)["code"]

        assert await told(Origin="https://evil.example") == (403, "foreign_origin")
        assert await told(Origin="null") == (403, "foreign_origin")
        assert await told(Host="evil.example") == (403, "foreign_host")
        assert await told(Authorization="Basic eA==") == (401, "unauthorized")
        assert await told(path + "x/y") == (404, "not_found")
        assert await told(**{"Sec-WebSocket-Version": "8"}) == (426, "upgrade_required")
        assert await told(**{"Sec-WebSocket-Key": "short"}) == (400, "bad_request")
        if protocol == "terminal":
            assert await told(Sec_WebSocket_Protocol="chat") == (400, "unknown_subprotocol")
        url = f"ws://127.0.0.1:{served.port}{path}"
        async with open_websocket_url(url, extra_headers=[(b"Origin", ORIGIN.encode())]) as connection:
            await connection._stream.aclose()


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", "/api/v1/execute"),
        ("POST", "/session"),
        ("DELETE", "/session/nobody"),
        ("GET", "/api/v1/languages"),
        ("GET", "/api/v1/openapi.json"),
    ],
)
@pytest.mark.parametrize("accept", ["application/json", "text/event-stream"])
async def test_pages_of_other_sites_may_use_a_route_where_they_are_configured(
    tmp_path: Path, method: str, path: str, accept: str
) -> None:
    headers = {"Accept": accept, "Content-Type": "text/plain"}
    content = b"{}" if method == "POST" else None
    async with (
        serve(tmp_path, {"http": {"origins": [ORIGIN]}}) as served,
        httpx.AsyncClient(base_url=served.url, timeout=PATIENCE) as client,
    ):
        asked = {"Access-Control-Request-Method": method, "Access-Control-Request-Headers": "x-api-key"}
        preflight = await client.options(path, headers={"Origin": ORIGIN, **asked})
        assert preflight.status_code == 204
        assert preflight.headers["access-control-allow-origin"] == ORIGIN
        assert method in preflight.headers["access-control-allow-methods"]
        answer = await client.request(method, path, headers={"Origin": ORIGIN, **headers}, content=content)
        assert answer.headers["access-control-allow-origin"] == ORIGIN, "errors are read by pages too"
        assert answer.headers.get("access-control-allow-credentials") is None
        for origin in ("https://evil.example", "null"):
            refused = await client.options(path, headers={"Origin": origin, **asked})
            assert (refused.status_code, refused.json()["code"]) == (403, "foreign_origin")
            answer = await client.request(method, path, headers={"Origin": origin, **headers}, content=content)
            assert "access-control-allow-origin" not in answer.headers
            if method != "GET":
                assert (answer.status_code, answer.json()["code"]) == (403, "foreign_origin")
        assert served.registry.asked == 0


async def test_a_stream_of_events_is_read_by_pages_too(tmp_path: Path) -> None:
    async with (
        serve(tmp_path, {"http": {"origins": [ORIGIN]}}) as served,
        httpx.AsyncClient(base_url=served.url, timeout=PATIENCE) as client,
    ):
        await client.get("/healthz")

        async def end() -> None:
            await until(lambda: bool(served.registry.started))
            served.registry.started[0].end()

        async with trio.open_nursery() as nursery:
            nursery.start_soon(end)
            headers = {"Origin": ORIGIN, "Accept": "text/event-stream"}
            body = {"language": "echo", "code": ""}
            answer = await client.post("/api/v1/execute", json=body, headers=headers)
        assert answer.headers["content-type"].startswith("text/event-stream")
        assert answer.headers["access-control-allow-origin"] == ORIGIN


# --- none is left out ------------------------------------------------------------------------------------------

OPERATORS = {"setup", "config", "broken"}
"""Told to nobody but who runs the daemon, or measures it."""


def codes_in_source() -> set[str]:
    found: set[str] = set()
    for file in (Path(__file__).parents[2] / "runnerd").rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text())):
            match node:
                case ast.ClassDef():
                    found |= _class_code(node)
                case ast.keyword(arg="code", value=ast.Constant(value=str(code))):
                    found.add(code)
                case _:
                    pass
    return found


def _class_code(node: ast.ClassDef) -> set[str]:
    codes: set[str] = set()
    for each in node.body:
        match each:
            case ast.Assign(targets=[ast.Name("code")], value=ast.Constant(value=str(code))):
                codes.add(code)
            case ast.Assign(
                targets=[ast.Tuple([ast.Name("code"), *_])], value=ast.Tuple([ast.Constant(str(code)), *_])
            ):
                codes.add(code)
            case _:
                pass
    return codes


def test_every_code_of_an_error_is_in_a_test() -> None:
    tests = "".join(file.read_text() for file in Path(__file__).parent.glob("test_*.py"))
    codes = codes_in_source()
    assert {"not_json", "quota", "kernel_died", "head_timeout", "bad_token"} <= codes
    started = {error.code for error, _ in STARTING}
    missing = {code for code in codes - OPERATORS - started if f'"{code}"' not in tests}
    assert not missing
