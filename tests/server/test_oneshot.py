"""POST /api/v1/execute: one answer, or an event stream, through a real listener; and on a clock that jumps."""

import gc
import json
import re
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
import trio
import trio.testing
from server_fakes import FakeRegistry, FakeSession, FakeStore, Served, accounts_of, serve, until

from runnerd.config import Auth, Config
from runnerd.errors import Busy, OutOfCredits
from runnerd.protocols import Adapter
from runnerd.protocols.execute import Collector, StreamAdapter
from runnerd.sandbox.spec import Outcome
from runnerd.server.admission import Admission
from runnerd.server.asked import Asked
from runnerd.server.auth import Doorkeeper
from runnerd.server.conversation import Conversation
from runnerd.server.drain import Drain
from runnerd.server.head import Head
from runnerd.server.http import make_app
from runnerd.server.oneshot import HEARTBEAT
from runnerd.server.origin import Gate
from runnerd.server.outbox import Transport
from runnerd.server.site import Site
from runnerd.store.database import open_store
from runnerd.toolchains import Toolchains

PATH = "/api/v1/execute"
RUN = {"language": "echo", "code": "1"}
EVENTS = {"Accept": "text/event-stream"}


@asynccontextmanager
async def asking(
    tmp_path: Path, settings: dict[str, Any] | None = None
) -> AsyncIterator[tuple[Served, httpx.AsyncClient]]:
    async with serve(tmp_path, settings) as served, httpx.AsyncClient(base_url=served.url, timeout=20) as client:
        await client.get("/healthz")  # its registry is made when it serves
        yield served, client


async def latest(served: Served) -> FakeSession:
    await until(lambda: bool(served.registry.started))
    return served.registry.started[-1]


async def answer_to(
    served: Served, client: httpx.AsyncClient, act: Callable[[FakeSession], None], **request: Any
) -> httpx.Response:
    """What a request is answered whose session is acted upon once it is there."""
    answers: list[httpx.Response] = []

    async def post() -> None:
        answers.append(await client.post(PATH, **request))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(post)
        act(await latest(served))
    return answers[0]


def check_error(answer: httpx.Response, status: int, code: str) -> dict[str, Any]:
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    fields = answer.json()
    assert (fields["status"], fields["code"], fields["error"]) == (status, code, fields["detail"])
    return fields


# --- one answer ------------------------------------------------------------------------------------------------


async def test_the_answer_is_as_published_and_more(tmp_path: Path) -> None:
    def act(session: FakeSession) -> None:
        session.feed.append("stdout", b"Hello from REST!\n")
        session.feed.append("stderr", b"\xff")
        session.end()

    async with asking(tmp_path) as (served, client):
        answer = await answer_to(served, client, act, json={**RUN, "timeout": 10, "stdin": "x"})
        assert answer.status_code == 200
        assert answer.headers["content-type"] == "application/json"
        assert answer.headers["cache-control"] == "no-store"
        fields = answer.json()
        assert re.fullmatch(r"[0-9]+ms", fields.pop("execution_time"))
        assert fields == {
            "stdout": "Hello from REST!\n",
            "stderr": "�",
            "exit_code": 0,
            "outcome": "exited",
            "usage": {"cpu": 0.5, "memory": 1024, "wall": 2.0},
            "id": "n1-fake0",
        }
        run = served.registry.started[0].run
        assert (run.mode, run.stdin, run.limits, run.files) == ("pipes", b"x", {"wall": 10.0}, {"": b"1"})


@pytest.mark.parametrize("outcome", [each for each in Outcome if each is not Outcome.EXITED])
async def test_every_outcome_is_an_answer(tmp_path: Path, outcome: Outcome) -> None:
    async with asking(tmp_path) as (served, client):
        answer = await answer_to(served, client, lambda session: session.end(outcome, None), json=RUN)
        assert answer.status_code == 200
        assert (answer.json()["outcome"], answer.json()["exit_code"]) == (outcome.value, None)


@pytest.mark.parametrize("accept", ["*/*", "text/event-stream"])
@pytest.mark.parametrize(
    ("content", "status", "code"),
    [
        (b"", 400, "not_json"),
        (b'{"language": "echo", "co', 400, "not_json"),
        (b"\xff\xfe", 400, "not_json"),
        (b'{"language": "echo", "code": "\xff"}', 400, "not_json"),
        (b"[" * 100_000, 400, "not_json"),
        (b"[]", 400, "not_json"),
        (b"{}", 400, "bad_request"),
        (b'{"language": "echo"}', 400, "bad_request"),
        (b'{"language": "echo", "code": "", "timeout": 1e300}', 400, "bad_request"),
        (b'{"language": "klingon", "code": ""}', 400, "unknown_language"),
        (b'{"language": "kl\\u0000", "code": ""}', 400, "unknown_language"),
    ],
)
async def test_errors_have_a_status(tmp_path: Path, accept: str, content: bytes, status: int, code: str) -> None:
    async with asking(tmp_path) as (served, client):
        check_error(await client.post(PATH, content=content, headers={"Accept": accept}), status, code)
        assert not served.registry.started
        assert (await client.get("/healthz")).status_code == 200


@pytest.mark.parametrize("accept", ["*/*", "text/event-stream"])
@pytest.mark.parametrize(
    ("failure", "status", "code", "retry"),
    [
        (Busy("full", retry_after=3), 503, "busy", "3"),
        (OutOfCredits("none left"), 402, "no_credits", None),
        (ZeroDivisionError("secret"), 500, "internal", None),
    ],
)
async def test_refusals_have_a_status(
    tmp_path: Path, accept: str, failure: Exception, status: int, code: str, retry: str | None
) -> None:
    async with asking(tmp_path) as (served, client):
        served.registry.failure = failure
        answer = await client.post(PATH, json=RUN, headers={"Accept": accept})
        assert "secret" not in str(check_error(answer, status, code))
        assert answer.headers.get("retry-after") == retry


@pytest.mark.parametrize("announced", [True, False])
async def test_a_body_that_is_too_large(tmp_path: Path, announced: bool) -> None:
    async def pieces() -> AsyncIterator[bytes]:
        for _ in range(5):
            yield b"x" * 1000

    async with asking(tmp_path, {"http": {"message_size": 4096}}) as (served, client):
        content: Any = b"x" * 5000 if announced else pieces()
        check_error(await client.post(PATH, content=content), 413, "too_large")
        fits = json.dumps({**RUN, "code": ""})
        fits = json.dumps({**RUN, "code": "x" * (4096 - len(fits))})
        assert len(fits) == 4096
        answer = await answer_to(served, client, lambda session: session.end(), content=fits)
        assert answer.status_code == 200


async def test_get_is_not_for_it(tmp_path: Path) -> None:
    async with asking(tmp_path) as (_, client):
        answer = await client.get(PATH)
        check_error(answer, 405, "method_not_allowed")
        assert answer.headers["allow"] == "POST"


@pytest.mark.parametrize("accept", ["*/*", "text/event-stream"])
async def test_a_client_that_leaves_ends_its_run(tmp_path: Path, accept: str) -> None:
    async with asking(tmp_path) as (served, client):
        with trio.CancelScope() as scope:
            async with trio.open_nursery() as nursery:

                async def post() -> None:
                    await client.post(PATH, json=RUN, headers={"Accept": accept})

                nursery.start_soon(post)
                session = await latest(served)
                scope.cancel()
        with trio.fail_after(10):
            await session.killed.wait()
        assert (await client.get("/healthz")).status_code == 200


async def test_a_client_that_leaves_while_it_waits_leaves_the_queue(tmp_path: Path) -> None:
    async with asking(tmp_path) as (served, client):
        served.registry.may_start = trio.Event()
        with pytest.raises(httpx.ReadTimeout):
            await client.post(PATH, json=RUN, timeout=0.2)
        with trio.fail_after(10):
            await until(lambda: served.registry.cancelled == 1)


# --- keys ------------------------------------------------------------------------------------------------------


async def test_the_key_comes_by_header_or_in_the_body(tmp_path: Path) -> None:
    store = open_store("", tmp_path)
    key = store.create_key(1).secret_key
    store.close()
    async with asking(tmp_path, {"auth": {"mode": "keys"}}) as (served, client):
        for headers in ({}, EVENTS):
            answer = await client.post(PATH, json=RUN, headers=headers)
            assert answer.headers["www-authenticate"] == "Bearer"
            check_error(answer, 401, "unauthorized")
            attempts: tuple[dict[str, Any], ...] = (
                {"headers": {"Authorization": "Bearer wrong", **headers}, "json": RUN},
                {"headers": {"Authorization": f"Basic {key}", **headers}, "json": RUN},
                {"headers": {"X-API-Key": "wrong", **headers}, "json": RUN},
                {"headers": headers, "json": {**RUN, "api_key": "wrong"}},
                {"headers": headers, "json": RUN, "params": {"api_key": key}},
            )
            for wrong in attempts:
                check_error(await client.post(PATH, **wrong), 401, "unauthorized")
        assert not served.registry.started
        for right in (
            {"headers": {"Authorization": f"Bearer {key}"}, "json": RUN},
            {"headers": {"X-API-Key": key}, "json": RUN},
            {"json": {**RUN, "api_key": key}},
        ):
            served.registry.started.clear()
            answer = await answer_to(served, client, lambda session: session.end(), **right)
            assert answer.status_code == 200


async def test_the_key_may_be_in_the_query_where_that_is_configured(tmp_path: Path) -> None:
    store = open_store("", tmp_path)
    key = store.create_key(1).secret_key
    store.close()
    async with asking(tmp_path, {"auth": {"mode": "keys", "query_key": True}}) as (served, client):
        answer = await answer_to(served, client, lambda session: session.end(), json=RUN, params={"api_key": key})
        assert answer.status_code == 200
        check_error(await client.post(PATH, json=RUN, params={"api_key": "wrong"}), 401, "unauthorized")


# --- event streams ---------------------------------------------------------------------------------------------


async def test_a_run_as_events(tmp_path: Path) -> None:
    async with asking(tmp_path) as (served, client), AsyncExitStack() as stack:

        async def begin() -> None:
            (await latest(served)).feed.append("stdout", b"one\n")

        async with trio.open_nursery() as nursery:
            nursery.start_soon(begin)
            request = client.stream("POST", PATH, json={**RUN, "id": "mine"}, headers=EVENTS)
            answer = await stack.enter_async_context(request)
            session = served.registry.started[0]
            assert answer.status_code == 200
            assert answer.headers["content-type"].startswith("text/event-stream")
            assert answer.headers["cache-control"] == "no-store"
            assert "content-length" not in answer.headers
            events = answer.aiter_lines()
            first = await _event(events)
            assert isinstance(first.pop("execution_time"), int | float)
            assert first == {"stdout": "one\n", "stderr": "", "id": "mine"}
            session.feed.append("stderr", b"two")
            assert (await _event(events))["stderr"] == "two"
            session.end(Outcome.EXITED, 3)
            last = await _event(events)
            assert (last["exit_code"], last["outcome"], last["id"]) == (3, "exited", "mine")
            assert [line async for line in events] == []
            await stack.aclose()
        assert (await client.get("/healthz")).status_code == 200


async def test_lines_in_output_do_not_tear_events(tmp_path: Path) -> None:
    async with asking(tmp_path) as (served, client):

        def act(session: FakeSession) -> None:
            session.feed.append("stdout", b"a\r\n\n\ndata: b\n\nevent: x\xe2\x80\xa8")
            session.end()

        answer = await answer_to(served, client, act, json=RUN, headers=EVENTS)
        events = answer.content.split(b"\n\n")
        assert events.pop() == b""
        told = [json.loads(event.removeprefix(b"data: ")) for event in events]
        assert "".join(each["stdout"] for each in told) == "a\r\n\n\ndata: b\n\nevent: x\u2028"


async def _event(lines: AsyncIterator[str]) -> dict[str, Any]:
    """The next event's data."""
    line = await anext(lines)
    assert line.startswith("data: "), line
    assert await anext(lines) == ""
    return json.loads(line.removeprefix("data: "))


class Exchange:
    """One request to the app in memory. `sent` are its messages; `leave` is the client's."""

    def __init__(self, body: bytes) -> None:
        self.sent: list[dict[str, Any]] = []
        self.leave = trio.Event()
        self._body: bytes | None = body

    async def receive(self) -> dict[str, Any]:
        body, self._body = self._body, None
        if body is not None:
            return {"type": "http.request", "body": body, "more_body": False}
        await self.leave.wait()
        return {"type": "http.disconnect"}

    async def send(self, message: Any) -> None:
        await trio.lowlevel.checkpoint()
        self.sent.append(message)

    @property
    def body(self) -> bytes:
        return b"".join(message.get("body", b"") for message in self.sent)


@asynccontextmanager
async def streaming(body: bytes = json.dumps(RUN).encode()) -> AsyncIterator[tuple[FakeRegistry, Exchange]]:
    """An event stream under way, without sockets; it is over at the end of the block."""
    async with trio.open_nursery() as nursery:
        config = Config(auth=Auth(mode="open"))
        registry: Any = FakeRegistry(None, None, config, nursery)
        accounts = accounts_of(FakeStore())
        doorkeeper = Doorkeeper(accounts, config.auth)
        admission = Admission(registry, Toolchains({}, {}), doorkeeper, accounts, config, nursery)

        def converse(head: Head, asked: Asked) -> Callable[[Transport, Adapter], Awaitable[None]]:
            async def run(transport: Transport, adapter: Adapter) -> None:
                drain = Drain(1)
                await Conversation(transport, adapter, admission, doorkeeper, drain, "unix", None, None, True).run()

            return run

        unused: Any = None
        site = Site(
            gate=Gate(loopback=True),
            assets={},
            limits="cgroup",
            languages=unused,
            metrics=unused,
            full=unused,
            draining=lambda: False,
            converse=converse,
            create_session=unused,
            kill_session=unused,
            find_space=unused,
        )
        exchange = Exchange(body)
        scope = {
            "type": "http",
            "method": "POST",
            "path": PATH,
            "query_string": b"",
            "http_version": "1.1",
            "headers": [(b"host", b"localhost"), (b"accept", b"text/event-stream")],
        }
        over = trio.Event()

        async def run() -> None:
            await make_app(site)(scope, exchange.receive, exchange.send)
            over.set()

        nursery.start_soon(run)
        await trio.testing.wait_all_tasks_blocked()
        yield registry, exchange
        await over.wait()
        nursery.cancel_scope.cancel()


async def test_silence_is_broken_by_heartbeats(autojump_clock: trio.testing.MockClock) -> None:
    async with streaming() as (registry, exchange):
        assert exchange.sent == []
        await trio.sleep(HEARTBEAT * 2.5)
        assert exchange.sent[0]["status"] == 200
        assert exchange.body == b":\n\n" * 2
        registry.started[0].feed.append("stdout", b"x")
        await trio.sleep(HEARTBEAT * 0.9)
        assert exchange.body.count(b":\n\n") == 2, "output puts off the next one"
        await trio.sleep(HEARTBEAT * 0.2)
        assert exchange.body.count(b":\n\n") == 3
        registry.started[0].end()
    assert exchange.sent[-1] == {"type": "http.response.body", "body": b""}
    assert exchange.body.count(b"data: ") == 2


async def test_an_error_after_a_heartbeat_is_an_event(autojump_clock: trio.testing.MockClock) -> None:
    """The status is sent then, for example because the run waited long in the queue."""

    class Slow(FakeRegistry):
        async def start(self, *words: Any, **more: Any) -> FakeSession:
            await trio.sleep(HEARTBEAT * 1.5)
            raise Busy("no box became free", retry_after=2)

    async with streaming() as (registry, _):
        registry.started[0].end()
    monkey = pytest.MonkeyPatch()
    with monkey.context() as patch:
        patch.setattr("test_oneshot.FakeRegistry", Slow)
        async with streaming(json.dumps({**RUN, "id": "mine"}).encode()) as (_, exchange):
            pass
    beat, event, rest = exchange.body.split(b"\n\n")
    assert (beat, rest) == (b":", b"")
    error = json.loads(event.removeprefix(b"data: "))
    assert error == {
        "error": "no box became free",
        "code": "busy",
        "hint": "try again in 2 s",
        "retry_after": 2,
        "stdout": "",
        "stderr": "",
        "execution_time": 0,
        "id": "mine",
    }


def of_requests() -> set[object]:
    """What lives that belongs to one request."""
    return {each for each in gc.get_objects() if isinstance(each, Collector | StreamAdapter | Conversation)}


@pytest.fixture
def kept() -> Iterator[Callable[[], set[object]]]:
    """What is there of requests since, in an interpreter that collects no cycles meanwhile."""
    gc.collect()
    gc.disable()
    before = of_requests()
    yield lambda: of_requests() - before
    gc.enable()


@pytest.mark.parametrize("accept", ["*/*", "text/event-stream"])
async def test_a_refused_body_is_kept_by_nobody(tmp_path: Path, kept: Callable[[], set[object]], accept: str) -> None:
    """Nor until the interpreter's next full collection, which may be long after many large ones."""
    async with asking(tmp_path) as (_, client):
        for content in ("{", "[]", '{"language": 7}', json.dumps({**RUN, "language": "klingon"})):
            assert (await client.post(PATH, content=content, headers={"Accept": accept})).status_code == 400
            assert not kept(), content


async def test_what_waited_and_was_refused_is_kept_by_nobody(
    autojump_clock: trio.testing.MockClock, kept: Callable[[], set[object]], monkeypatch: pytest.MonkeyPatch
) -> None:
    class Slow(FakeRegistry):
        async def start(self, *words: Any, **more: Any) -> FakeSession:
            await trio.sleep(HEARTBEAT * 1.5)
            raise Busy("no box became free", retry_after=2)

    monkeypatch.setattr("test_oneshot.FakeRegistry", Slow)
    async with streaming() as (_, exchange):
        pass
    assert b"busy" in exchange.body
    assert not kept()


async def test_a_client_that_leaves_a_stream_ends_its_run(autojump_clock: trio.testing.MockClock) -> None:
    async with streaming() as (registry, exchange):
        exchange.leave.set()
        await registry.started[0].killed.wait()
