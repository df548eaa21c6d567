"""Previews without sockets: addresses and their capabilities, and which headers pass."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runnerd.config import parse
from runnerd.errors import BadRequest, ConfigError, NotFound, RunnerdError
from runnerd.server import preview_headers as rules
from runnerd.server.head import Head
from runnerd.server.preview_address import (
    COOKIE,
    QUERY,
    BadCapability,
    Base,
    Place,
    address,
    base,
    claims,
    find,
    sign,
    verify,
)

SECRET = b"s" * 32
SPACE = "n1-0123456789abcdef0123456789abcdef"
HOSTS = base("https://{port}-{space}.preview.example.org")
OWN = base("https://preview.example.org")
SHARED = base("")
NOW = 1_700_000_000
HOST = f"3000-{SPACE}.preview.example.org"


def head(target: str, host: str = "runnerd.example.org", method: str = "GET", **headers: str) -> Head:
    named = tuple((name.replace("_", "-"), value) for name, value in headers.items())
    return Head(method, target, "1.1", (("host", host), *named))


def place(target: str = "/", prefix: str = f"/preview/{SPACE}/3000/c") -> Place:
    return Place(SPACE, 3000, target, prefix, ())


# --- addresses -------------------------------------------------------------------------------------------------


def test_what_a_base_may_be() -> None:
    assert base("") == Base()
    assert Base("https", "preview.example.org", "", True) == HOSTS
    assert base("http://{port}-{space}.preview.localhost:8080") == Base("http", "preview.localhost", ":8080", True)
    assert base("https://preview.example.org:8443") == Base("https", "preview.example.org", ":8443", False)
    for wrong in ("ftp://x", "https://", "https://a/b", "https://{space}.x", "https://a@b", "preview.example.org", "*"):
        with pytest.raises(ConfigError, match=r"preview\.url"):
            parse({"preview": {"url": wrong}})
        assert base(wrong) == Base()


@pytest.mark.parametrize("where", [SHARED, OWN, HOSTS])
def test_an_address_leads_to_its_place(where: Base) -> None:
    url = address(where, SECRET, SPACE, 3000, NOW + 5)
    scheme, _, rest = url.rpartition("://")
    host, _, path = rest.partition("/")
    assert (scheme, host) == {SHARED: ("", ""), OWN: ("https", OWN.host), HOSTS: ("https", HOST)}[where]
    asked = head(f"/{path}", host or "localhost:8080")
    assert claims(where, asked)
    found = find(where, asked)
    assert (found.space, found.port, found.target) == (SPACE, 3000, "/")
    assert verify(SECRET, found, NOW) == (found.capabilities[0], NOW + 5)
    with pytest.raises(BadCapability, match="expired"):
        verify(SECRET, found, NOW + 5)


def test_a_capability_is_for_one_port_of_one_space() -> None:
    good = sign(SECRET, SPACE, 3000, NOW)
    for each in (
        Place("n1-other", 3000, "/", "", (good,)),
        Place(SPACE, 3001, "/", "", (good,)),
        Place(SPACE, 3000, "/", "", (good.replace(str(NOW), str(NOW + 1)),)),
        Place(SPACE, 3000, "/", "", (good[:-1],)),
        Place(SPACE, 3000, "/", "", (f"{good}\n",)),
        Place(SPACE, 3000, "/", "", ()),
    ):
        with pytest.raises(BadCapability, match="missing, wrong"):
            verify(SECRET, each, 0)
    with pytest.raises(BadCapability, match="missing, wrong"):
        verify(b"t" * 32, Place(SPACE, 3000, "/", "", (good,)), 0)
    assert verify(SECRET, Place(SPACE, 3000, "/", "", ("x", "", good)), 0) == (good, NOW)


def test_what_is_claimed() -> None:
    assert not claims(SHARED, head("/"))
    assert not claims(SHARED, head("/previews/"))
    assert not claims(SHARED, head("/x/../preview/a"))
    assert claims(SHARED, head("/preview/"))
    assert claims(OWN, head("/api/v1/languages", "preview.example.org:443")), "nothing else is on that host"
    assert not claims(OWN, head("/preview/x", "runnerd.example.org"))
    for host in (HOST, HOST.upper(), f"{HOST}:8443", f"{HOST}.", "x.preview.example.org"):
        assert claims(HOSTS, head("/", host)), host
    for host in ("preview.example.org", "evilpreview.example.org", f"{HOST}.evil.org", "", "localhost"):
        assert not claims(HOSTS, head("/preview/x", host)), host


@pytest.mark.parametrize(
    ("target", "rest"),
    [
        ("", ""),
        ("/", "/"),
        ("?a=b", "?a=b"),
        ("/a/b?c=/d", "/a/b?c=/d"),
        ("/../../../api/v1/execute", "/../../../api/v1/execute"),
        ("/%2e%2e/%2e%2e/x", "/%2e%2e/%2e%2e/x"),
        ("//evil.org/", "//evil.org/"),
    ],
)
def test_paths_stay_what_they_are(target: str, rest: str) -> None:
    """What stands behind the capability is the server's to understand: nothing here takes it for a path."""
    found = find(SHARED, head(f"/preview/{SPACE}/3000/c{target}"))
    assert (found.space, found.port, found.capabilities, found.target) == (SPACE, 3000, ("c",), rest)
    assert found.prefix == f"/preview/{SPACE}/3000/c"


@pytest.mark.parametrize(
    ("target", "error"),
    [
        ("/preview/", NotFound),
        (f"/preview/{SPACE}/3000", NotFound),
        (f"/preview/{SPACE}/x/c/", NotFound),
        (f"/preview/{SPACE}/0/c/", BadRequest),
        (f"/preview/{SPACE}/65536/c/", BadRequest),
        ("/preview/../3000/c/", NotFound),
        ("/preview/%2e%2e/3000/c/", NotFound),
        ("http://localhost/preview/a/1/c/", BadRequest),
        ("*", BadRequest),
        ("example.org:443", BadRequest),
    ],
)
def test_targets_that_are_none(target: str, error: type[RunnerdError]) -> None:
    with pytest.raises(error):
        find(SHARED, head(target))


def test_hosts() -> None:
    found = find(HOSTS, head(f"/a?b=c&{QUERY}=x-y&d", HOST))
    assert (found.target, found.prefix, found.capabilities, found.by_cookie) == ("/a?b=c&d", "", ("x-y",), False)
    found = find(HOSTS, head("/a?b=c", HOST, cookie=f"a=b; __Host-{COOKIE}=x; {COOKIE}=y; __Host-{COOKIE}=z"))
    assert (found.target, found.capabilities, found.by_cookie) == ("/a?b=c", ("x", "z"), True)
    for label in ("", "x", "3000", "3000-", "70000-a", f"a.3000-{SPACE}"):
        with pytest.raises(RunnerdError):
            find(HOSTS, head("/", f"{label}.preview.example.org"))


@given(st.text(), st.sampled_from([SHARED, OWN, HOSTS]), st.text())
def test_nothing_of_a_client_breaks_it(target: str, where: Base, host: str) -> None:
    for name in (host, "preview.example.org", HOST, f"{host}.preview.example.org"):
        asked = head(target, name)
        if claims(where, asked):
            try:
                verify(SECRET, find(where, asked), 0)
            except RunnerdError:
                continue
            pytest.fail("a capability was guessed")


# --- headers ---------------------------------------------------------------------------------------------------


def told(asked: Head, where: Place, site: Base = SHARED) -> dict[str, str]:
    headers = rules.to_server(asked, where, site, "192.0.2.1", "https")
    assert len(dict(headers)) == len(headers)
    return dict(headers)


def test_what_a_server_is_told() -> None:
    asked = head(
        "/preview/...",
        accept="x",
        connection="keep-alive, X-Hop",
        x_hop="1",
        te="trailers",
        upgrade="h2c",
        http2_settings="x",
        proxy_authorization="x",
        forwarded="for=evil",
        x_forwarded_for="10.0.0.1",
        x_real_ip="10.0.0.1",
        expect="100-continue",
        content_length="3",
    )
    assert told(asked, place()) == {
        "accept": "x",
        "content-length": "3",
        "host": "localhost:3000",
        "x-forwarded-for": "192.0.2.1",
        "x-forwarded-proto": "https",
        "x-forwarded-host": "runnerd.example.org",
        "x-forwarded-prefix": f"/preview/{SPACE}/3000/c",
        "connection": "close",
    }


def test_credentials_for_the_daemon_stay_with_it() -> None:
    secret = {"authorization": "Bearer rk_x", "x_api_key": "rk_x", "cookie": "a=b", "referer": "https://a/?join=n1-x"}
    passed = told(head("/", **secret), place())
    assert not {"authorization", "x-api-key", "cookie", "referer"} & set(passed)
    cookie = f"a=b; __Host-{COOKIE}=c; {COOKIE}=d; e=f"
    passed = told(head("/", HOST, **(secret | {"cookie": cookie})), place(prefix=""), HOSTS)
    assert passed["cookie"] == "a=b; e=f"
    assert not {"authorization", "x-api-key"} & set(passed)
    own = head("/", HOST, authorization="Basic YTpi", cookie=f"__Host-{COOKIE}=c")
    passed = told(own, place(prefix=""), HOSTS)
    assert passed["authorization"] == "Basic YTpi"
    assert "cookie" not in passed


@pytest.mark.parametrize(
    ("where", "host", "origin", "seen"),
    [
        (place(), "a.org", "null", "http://localhost:3000"),
        (place(), "a.org", "https://evil.org", "https://evil.org"),
        (place(prefix=""), HOST, f"https://{HOST}", "http://localhost:3000"),
        (place(prefix=""), HOST, "null", "null"),
    ],
)
def test_origin_goes_with_host(where: Place, host: str, origin: str, seen: str) -> None:
    assert told(head("/", host, origin=origin), where)["origin"] == seen


def test_websockets_keep_what_makes_them() -> None:
    passed = told(head("/", connection="keep-alive, Upgrade", upgrade="WebSocket", sec_websocket_key="k"), place())
    assert (passed["connection"], passed["upgrade"], passed["sec-websocket-key"]) == ("Upgrade", "websocket", "k")


HARM = {
    "Set-Cookie": "a=b",
    "Clear-Site-Data": '"*"',
    "Strict-Transport-Security": "max-age=9",
    "Access-Control-Allow-Origin": "https://evil.org",
    "Access-Control-Allow-Credentials": "true",
    "Alt-Svc": 'h2="evil.org:443"',
    "Service-Worker-Allowed": "/",
    "WWW-Authenticate": "Basic",
    "NEL": "{}",
    "Report-To": "{}",
    "Reporting-Endpoints": "a='x'",
    "Origin-Agent-Cluster": "?1",
    "Accept-CH": "x",
    "Set-Login": "logged-in",
    "Public-Key-Pins": "x",
    "X-Accel-Redirect": "/internal/secret",
    "X-Sendfile": "/etc/passwd",
    "X-Envoy-Immediate-Health-Check-Fail": "1",
    "X-Content-Type-Options": "sniff",
    "Referrer-Policy": "unsafe-url",
    "Cross-Origin-Resource-Policy": "cross-origin",
    "Surrogate-Control": "max-age=9",
    "CDN-Cache-Control": "max-age=9",
    "Cache-Control": "public, max-age=9",
    "Keep-Alive": "timeout=9",
    "Proxy-Authenticate": "Basic",
    "Upgrade": "h2c",
    "Trailer": "x",
    "Connection": "X-Other",
    "X-Other": "1",
    "X-Request-Id": "1",
}


def answered(headers: dict[str, str] | rules.Headers, where: Place, site: Base = SHARED, host: str = "a.org"):
    given = list(headers.items()) if isinstance(headers, dict) else headers
    return rules.to_client(given, head("/", host), where, site)


def test_an_answer_cannot_harm_the_shared_origin() -> None:
    harmless = {"Content-Type": "text/html", "ETag": "x", "X-Total": "1", "Content-Security-Policy": "img-src *"}
    assert answered(HARM | harmless, place()) == [
        ("content-type", "text/html"),
        ("etag", "x"),
        ("x-total", "1"),
        ("content-security-policy", "img-src *"),
        ("cache-control", "private, no-cache"),
        ("cross-origin-resource-policy", "cross-origin"),
        ("x-content-type-options", "nosniff"),
        ("referrer-policy", "no-referrer"),
        ("x-accel-buffering", "no"),
        ("content-security-policy", rules.SANDBOX),
        ("access-control-allow-origin", "*"),
        ("access-control-expose-headers", "*"),
    ]
    assert "allow-same-origin" not in rules.SANDBOX
    assert "top-navigation" not in rules.SANDBOX
    assert "to-escape-sandbox" not in rules.SANDBOX


def test_an_answer_of_an_own_origin_cannot_harm_others() -> None:
    passed = {name for name, _ in answered(HARM, place(prefix=""), HOSTS)}
    own = {"set-cookie", "access-control-allow-origin", "access-control-allow-credentials", "service-worker-allowed"}
    own |= {"www-authenticate", "accept-ch", "origin-agent-cluster", "reporting-endpoints"}
    assert passed == own | {name for name, _ in rules.isolation(place(prefix=""))} | {"cache-control"}


@pytest.mark.parametrize(
    ("value", "passes"),
    [
        ("a=b; Path=/; HttpOnly", True),
        ("a=b; Domain=preview.example.org", False),
        ("a=b; domain =.example.org", False),
        (f"__Host-{COOKIE}=x; Secure; Path=/", False),
        (f" {COOKIE}=x", False),
    ],
)
def test_cookies_of_a_server(value: str, passes: bool) -> None:
    assert (("set-cookie", value) in answered([("Set-Cookie", value)], place(prefix=""), HOSTS)) is passes
    assert all(name != "set-cookie" for name, _ in answered([("Set-Cookie", value)], place()))


PREFIX = place().prefix


@pytest.mark.parametrize(
    ("given", "shared", "own"),
    [
        ("/a?b#c", f"{PREFIX}/a?b#c", "/a?b#c"),
        ("a", "a", "a"),
        ("?x", "?x", "?x"),
        ("http://localhost:3000/a?b#c", f"{PREFIX}/a?b#c", "/a?b#c"),
        ("http://127.0.0.1:3000", f"{PREFIX}/", "/"),
        ("http://localhost:3001/", "http://localhost:3001/", "http://localhost:3001/"),
        ("https://a.org/x", f"{PREFIX}/x", "/x"),
        (f"https://a.org{PREFIX}/x", f"{PREFIX}/x", None),
        ("http://localhost:3000//evil.org/", f"{PREFIX}/evil.org/", "/evil.org/"),
        ("https://evil.org/", "https://evil.org/", "https://evil.org/"),
        ("https://a.org:444/x", "https://a.org:444/x", "https://a.org:444/x"),
        ("//evil.org/", "//evil.org/", "//evil.org/"),
        ("/api/v1/execute", f"{PREFIX}/api/v1/execute", "/api/v1/execute"),
        (f"{PREFIX}/x", f"{PREFIX}/x", None),
        ("http://[", "http://[", "http://["),
    ],
)
def test_redirects(given: str, shared: str, own: str | None) -> None:
    assert ("location", shared) in answered({"Location": given}, place())
    if own is not None:
        assert ("location", own) in answered({"Location": given}, place(prefix=""), HOSTS)


def test_pages_do_not_come_by_the_dozen() -> None:
    """Below a path: on an origin of its own a server does as it likes."""
    many = ("content-type", "multipart/x-mixed-replace; boundary=b")
    none = ("content-type", "application/octet-stream")
    image = head("/", sec_fetch_dest="image")
    assert none in answered([many], place())
    assert many in answered([many], place(prefix=""), HOSTS)
    assert many in rules.to_client([many], image, place(), SHARED)


def test_an_answer_of_two_lengths_has_one() -> None:
    passed = answered({"Content-Length": "3", "Transfer-Encoding": "chunked"}, place())
    assert not {"content-length", "transfer-encoding"} & {name for name, _ in passed}
    assert ("cache-control", "no-store") in answered({"Cache-Control": "No-Store"}, place())


def test_who_may_use_a_cookie() -> None:
    where = Place(SPACE, 3000, "/", "", (), by_cookie=True)
    websocket = {"connection": "Upgrade", "upgrade": "websocket"}
    sibling = f"https://5173-{SPACE}.preview.example.org"
    for origin in (f"https://{HOST}", f"https://{HOST.upper()}", sibling):
        rules.check(head("/", HOST, origin=origin, **websocket), where)
        rules.check(head("/", HOST, "POST", origin=origin), where)
    for origin in ("https://evil.org", "null", "", "https://3000-n1-f.preview.example.org", f"https://{HOST}.evil.org"):
        for asked in (head("/", HOST, origin=origin, **websocket), head("/", HOST, "POST", origin=origin)):
            with pytest.raises(rules.ForeignPage):
                rules.check(asked, where)
            rules.check(asked, place())
        rules.check(head("/", HOST, origin=origin), where)
    rules.check(head("/", HOST, **websocket), where)


def test_what_no_browser_may_be_led_to() -> None:
    with pytest.raises(rules.ForeignPage, match="service worker"):
        rules.check(head("/sw.js", service_worker="script"), place())
    rules.check(head("/sw.js", HOST, service_worker="script"), place(prefix=""))
    with pytest.raises(BadRequest, match="both"):
        rules.check(head("/", method="POST", content_length="1", transfer_encoding="chunked"), place())


def test_the_cookie() -> None:
    assert rules.cookie(HOSTS, "c", 5) == f"__Host-{COOKIE}=c; Path=/; Max-Age=5; HttpOnly; SameSite=Lax; Secure"
    plain = base("http://{port}-{space}.preview.localhost")
    assert rules.cookie(plain, "c", 5) == f"{COOKIE}=c; Path=/; Max-Age=5; HttpOnly; SameSite=Lax"
