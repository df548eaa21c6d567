import gzip
import io
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from runnerd.errors import Busy, NotFound
from runnerd.server import assets
from runnerd.server.forwarded import Proxies
from runnerd.server.http import _Guard, make_app
from runnerd.server.metrics import Metric
from runnerd.server.origin import Gate
from runnerd.server.site import Language, Site

PYTHON = Language("python", "Python", ("py",), "main.py", {"code": "print()", "input": "x\n"}, True, [])
JAVA = Language(
    "java", "Java", (), "Main.java", {"code": "", "input": ""}, False, [{"program": "javac", "package": "jdk"}]
)


def free() -> None:
    pass


def full() -> None:
    raise Busy("full", retry_after=4)


def refuse(*words: object) -> Any:
    raise NotFound("not here")


def broken() -> None:
    raise ZeroDivisionError("secret detail")


def site(**changes: Any) -> Site:
    fields: dict[str, Any] = {
        "gate": Gate(loopback=True),
        "assets": {},
        "limits": "best-effort",
        "languages": lambda: [PYTHON, JAVA],
        "metrics": lambda: [Metric("boxes", "gauge", "Live boxes.", 3)],
        "full": free,
        "draining": lambda: False,
        "converse": refuse,
        "create_session": refuse,
        "kill_session": refuse,
        "find_space": refuse,
    }
    return Site(**{**fields, **changes})


@asynccontextmanager
async def browsing(**changes: Any) -> AsyncIterator[httpx.AsyncClient]:
    transport = httpx.ASGITransport(make_app(site(**changes)))
    async with httpx.AsyncClient(transport=transport, base_url="http://localhost:8080") as client:
        yield client


def check_error(response: httpx.Response, status: int, code: str) -> dict[str, str]:
    assert response.status_code == status
    body = response.json()
    assert response.headers["content-type"] == "application/problem+json"
    assert set(body) - {"retry_after"} == {"type", "title", "status", "detail", "error", "code", "hint"}
    assert (body["status"], body["error"]) == (status, body["detail"])
    assert (body["type"], body["code"]) == ("about:blank", code)
    assert ("retry_after" in body) == ("retry-after" in response.headers)
    assert len(response.headers["x-request-id"]) >= 8
    return body


async def test_health_and_readiness() -> None:
    async with browsing() as client:
        for path in ("/healthz", "/readyz"):
            response = await client.get(path)
            assert response.status_code == 200
            assert response.json() == {"status": "ok"}
            assert response.headers["cache-control"] == "no-store"


async def test_a_full_daemon_is_alive_and_not_ready() -> None:
    async with browsing(full=full) as client:
        assert (await client.get("/healthz")).status_code == 200
        response = await client.get("/readyz")
        check_error(response, 503, "busy")
        assert response.headers["retry-after"] == "4"


async def test_a_draining_daemon_says_so_and_closes() -> None:
    async with browsing(draining=lambda: True) as client:
        response = await client.get("/readyz")
        check_error(response, 503, "busy")
        assert response.headers["connection"] == "close"


async def test_languages_say_what_is_missing() -> None:
    async with browsing() as client:
        found = (await client.get("/api/v1/languages")).json()
    assert (found["limits"], found["auth"]) == ("best-effort", "keys")
    python, java = found["languages"]
    assert python == {
        "id": "python",
        "name": "Python",
        "aliases": ["py"],
        "source": "main.py",
        "sample": {"code": "print()", "input": "x\n"},
        "available": True,
        "missing": [],
    }
    assert java["missing"] == [{"program": "javac", "package": "jdk"}]


async def test_metrics() -> None:
    async with browsing() as client:
        response = await client.get("/metrics")
    assert response.headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8"
    assert "runnerd_boxes 3\n" in response.text


@pytest.mark.parametrize("path", ["/nothing", "/api/v1/nothing", "/assets/../secret", "/%2e%2e/secret", "/healthz/"])
async def test_what_is_not_there(path: str) -> None:
    async with browsing() as client:
        check_error(await client.get(path), 404, "not_found")
        check_error(await client.post(path), 404, "not_found")


async def test_wrong_methods_name_the_right_ones() -> None:
    async with browsing() as client:
        response = await client.post("/healthz", content=b"x" * 1000)
        assert "GET" in check_error(response, 405, "method_not_allowed")["hint"]
        assert set(response.headers["allow"].split(", ")) == {"GET", "HEAD"}


async def test_a_browser_at_the_websockets_address_is_told() -> None:
    async with browsing() as client:
        response = await client.get("/api/v1/terminal")
        check_error(response, 426, "upgrade_required")
        assert response.headers["upgrade"] == "websocket"


async def test_a_foreign_host_gets_nothing() -> None:
    async with browsing() as client:
        check_error(await client.get("/healthz", headers={"host": "evil.example"}), 403, "foreign_host")


async def test_an_unexpected_error_is_told_by_reference() -> None:
    async with browsing(full=broken) as client:
        body = check_error(await client.get("/readyz"), 500, "internal")
        assert "secret" not in str(body)
        assert "reference" in body["hint"]


@pytest.mark.parametrize("path", ["/", "/healthz", "/nothing", "/api/v1/languages"])
async def test_every_answer_is_locked_down(path: str) -> None:
    async with browsing() as client:
        headers = (await client.get(path)).headers
    policy = dict(part.strip().split(" ", 1) for part in headers["content-security-policy"].split(";"))
    assert policy["default-src"] == "'none'"
    assert policy["script-src"] == policy["style-src"] == policy["connect-src"] == "'self'"
    assert policy["frame-ancestors"] == "'self'"
    assert policy["base-uri"] == policy["form-action"] == "'none'"
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["referrer-policy"] == "no-referrer"
    assert headers["cross-origin-opener-policy"] == headers["cross-origin-resource-policy"] == "same-origin"


# --- the page --------------------------------------------------------------------------------------------------


@pytest.fixture
def built(tmp_path: Path) -> dict[str, assets.Asset]:
    (tmp_path / "assets").mkdir()
    (tmp_path / "index.html").write_text("<!doctype html><title>page</title>")
    (tmp_path / "icon.svg").write_text("<svg/>")
    (tmp_path / "assets" / "index-DZZg-x4V.js").write_text("let a = 1;\n" * 500)
    (tmp_path / "assets" / "font-Ab_12345.woff2").write_bytes(b"\0" * 5000)
    return assets.load(tmp_path)


async def test_a_page_that_was_not_built_says_how(tmp_path: Path) -> None:
    async with browsing(assets=assets.load(tmp_path / "missing")) as client:
        response = await client.get("/")
        assert response.status_code == 503
        assert "scripts/setup" in response.text


async def test_the_page_is_asked_for_each_time_and_its_parts_once(built: dict[str, assets.Asset]) -> None:
    async with browsing(assets=built) as client:
        page = await client.get("/")
        assert "<title>page" in page.text
        assert page.headers["content-type"] == "text/html; charset=utf-8"
        assert page.headers["cache-control"] == "no-cache"
        assert (await client.get("/icon.svg")).headers["cache-control"] == "no-cache"
        script = await client.get("/assets/index-DZZg-x4V.js")
        assert script.headers["cache-control"] == "public, max-age=31536000, immutable"
        assert script.headers["content-type"] == "text/javascript; charset=utf-8"
        font = await client.get("/assets/font-Ab_12345.woff2")
        assert font.headers["content-type"] == "font/woff2"
        assert "content-encoding" not in font.headers


async def test_an_unchanged_page_is_not_sent_again(built: dict[str, assets.Asset]) -> None:
    async with browsing(assets=built) as client:
        etag = (await client.get("/")).headers["etag"]
        again = await client.get("/", headers={"if-none-match": etag})
        assert (again.status_code, again.content) == (304, b"")
        assert (await client.get("/", headers={"if-none-match": '"other"'})).status_code == 200


async def test_text_is_packed_for_who_unpacks_it(built: dict[str, assets.Asset]) -> None:
    async with browsing(assets=built) as client:
        path = "/assets/index-DZZg-x4V.js"
        async with client.stream("GET", path, headers={"accept-encoding": "br, gzip"}) as packed:
            raw = b"".join([chunk async for chunk in packed.aiter_raw()])
        plain = await client.get(path, headers={"accept-encoding": "identity"})
        assert gzip.decompress(raw) == plain.content
        assert len(raw) < len(plain.content) / 10


async def test_head_has_the_headers_of_get(built: dict[str, assets.Asset]) -> None:
    async with browsing(assets=built) as client:
        get, head = await client.get("/"), await client.head("/")
        assert head.headers["content-length"] == get.headers["content-length"]


# --- other sites' pages ----------------------------------------------------------------------------------------

COURSE = Gate(["https://course.example"], loopback=True)
ASK = {"access-control-request-method": "POST", "access-control-request-headers": "authorization"}


async def test_pages_of_configured_sites_may_read_answers_and_errors() -> None:
    async with browsing(gate=COURSE) as client:
        for path in ("/api/v1/languages", "/nothing"):
            answer = await client.get(path, headers={"origin": "https://course.example"})
            assert answer.headers["access-control-allow-origin"] == "https://course.example"
            assert "x-request-id" in answer.headers["access-control-expose-headers"].lower()
            assert "Origin" in answer.headers["vary"]
            assert "access-control-allow-credentials" not in answer.headers


async def test_pages_of_other_sites_may_read_nothing() -> None:
    async with browsing(gate=COURSE) as client:
        answer = await client.get("/api/v1/languages", headers={"origin": "https://evil.example"})
        assert answer.status_code == 200  # as any request that a page can make without asking
        assert "access-control-allow-origin" not in answer.headers
        assert "Origin" in answer.headers["vary"]
        assert "access-control-allow-origin" not in (await client.get("/api/v1/languages")).headers


async def test_a_browser_may_ask_before_it_sends() -> None:
    async with browsing(gate=COURSE) as client:
        answer = await client.options("/api/v1/execute", headers={"origin": "https://course.example", **ASK})
        assert (answer.status_code, answer.content) == (204, b"")
        assert answer.headers["access-control-allow-origin"] == "https://course.example"
        assert {"POST", "DELETE"} <= set(answer.headers["access-control-allow-methods"].split(", "))
        allowed = set(answer.headers["access-control-allow-headers"].lower().split(", "))
        assert {"authorization", "content-type", "x-api-key"} <= allowed
        refused = await client.options("/api/v1/execute", headers={"origin": "https://evil.example", **ASK})
        check_error(refused, 403, "foreign_origin")
        assert "access-control-allow-origin" not in refused.headers


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH"])
async def test_pages_of_other_sites_may_send_nothing(method: str) -> None:
    """A form or a fetch without CORS needs no permission to send: the daemon must refuse."""
    async with browsing(gate=COURSE) as client:
        for origin in ("https://evil.example", "null"):
            headers = {"origin": origin, "content-type": "text/plain"}
            check_error(await client.request(method, "/healthz", headers=headers), 403, "foreign_origin")
        for headers in ({"origin": "https://course.example"}, {"origin": "http://localhost:8080"}, {}):
            check_error(await client.request(method, "/healthz", headers=headers), 405, "method_not_allowed")


# --- bodies and identity ---------------------------------------------------------------------------------------


async def test_a_body_that_is_announced_too_large_is_not_read() -> None:
    async with browsing(body_size=10) as client:
        check_error(await client.post("/healthz", content=b"x" * 11), 413, "too_large")
        check_error(await client.post("/healthz", content=b"x" * 10), 405, "method_not_allowed")


async def test_a_body_that_grows_too_large_is_refused() -> None:
    read: list[int] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        while True:
            message = await receive()
            read.append(len(message["body"]))
            if not message["more_body"]:
                await send({"type": "http.response.start", "status": 200, "headers": []})
                await send({"type": "http.response.body", "body": b""})
                return

    class Body(httpx.AsyncByteStream):
        """No generator: httpx does not close what it has not read to its end."""

        def __init__(self, pieces: int) -> None:
            self._left = pieces

        def __aiter__(self) -> "Body":
            return self

        async def __anext__(self) -> bytes:
            if not self._left:
                raise StopAsyncIteration
            self._left -= 1
            return b"x" * 4

    def post(pieces: int) -> httpx.Request:
        headers = {"Host": "localhost:8080"}
        return httpx.Request("POST", "http://localhost:8080/", headers=headers, stream=Body(pieces))

    transport = httpx.ASGITransport(_Guard(app, site(body_size=10)))
    async with httpx.AsyncClient(transport=transport, base_url="http://localhost:8080") as client:
        assert (await client.send(post(2))).status_code == 200
        read.clear()
        check_error(await client.send(post(10)), 413, "too_large")
        assert read == [4, 4]


async def test_a_trusted_proxy_names_its_request() -> None:
    for trusted, given, kept in [
        (["127.0.0.1"], "abc-12345", True),
        ([], "abc-12345", False),
        (["127.0.0.1"], "short", False),
        (["127.0.0.1"], "x" * 65, False),
        (["127.0.0.1"], "with blank and =", False),
    ]:
        async with browsing(proxies=Proxies(trusted)) as client:
            answer = await client.get("/healthz", headers={"x-request-id": given})
            assert (answer.headers["x-request-id"] == given) == kept
            assert (await client.get("/healthz")).headers["x-request-id"] != answer.headers["x-request-id"]


async def test_the_log_tells_which_request_an_error_was_of(
    written_log: io.StringIO,
) -> None:
    async with browsing(full=broken, proxies=Proxies(["127.0.0.1"])) as client:
        headers = {"x-request-id": "abc-12345", "x-forwarded-for": "192.0.2.1"}
        await client.get("/readyz?api_key=rsk_secret", headers=headers)
    line = written_log.getvalue().partition("\n")[0]
    assert "request=abc-12345" in line
    assert "client=192.0.2.1" in line
    assert "rsk_secret" not in line
