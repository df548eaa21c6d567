"""Previews in headless Chromium: servers of all kinds are used, and a page that means harm gets nowhere."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, expect

from tests.e2e.previewing import SITE, Inside, inside
from tests.e2e.serving import CONFIG, Daemon, serve
from tests.e2e.test_page import PATIENCE
from tests.e2e.test_page import browser as browser
from tests.left_out import left_out

pytestmark = [pytest.mark.browser, pytest.mark.timeout(120)]

PAGE = """\
<!doctype html><title>page</title><link rel=stylesheet href=style.css>
<p id=styled>styled</p><p id=module></p><p id=echo></p><p id=events></p><p id=posted></p>
<script type=module src=module.js></script>
"""
MODULE = """\
import { word } from "./word.js"
const put = (id, text) => document.getElementById(id).textContent = text
put("module", word)
const socket = new WebSocket(new URL("echo", location.href))
socket.onopen = () => socket.send("said")
socket.onmessage = (event) => { put("echo", event.data); socket.close(1000, "enough") }
const source = new EventSource("events")
source.onmessage = (event) => { put("events", event.data); if (event.data.endsWith("3")) source.close() }
const posted = await fetch("post", { method: "POST", headers: { "X-Own": "1" }, body: "olleh" })
put("posted", await posted.text())
"""
FLASK = """\
from flask import Flask, redirect, render_template_string, request, session, url_for
app = Flask(__name__)
app.secret_key = "known"

@app.get("/")
def index():
    return render_template_string('''<link rel=stylesheet href="{{ url_for('static', filename='style.css') }}">
        <h1>VERSION</h1><p id=who>{{ session.get('name', 'nobody') }}</p>
        <form method=post action="{{ url_for('login') }}"><input name=name><button>Log in</button></form>''')

@app.post("/login")
def login():
    session["name"] = request.form["name"]
    return redirect(url_for("index", _external=True))
"""
STYLE = "#styled, h1 { color: rgb(1, 2, 3) }"


@pytest.fixture(scope="module")
def hosts(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    """A daemon whose previews have hosts of their own; Chromium knows that names below localhost are this machine."""
    settings = f'{CONFIG}\n[preview]\nurl = "http://{{port}}-{{space}}.localhost"\n'
    with serve(tmp_path_factory.mktemp("hosts"), settings=settings) as daemon:
        yield daemon


@pytest.fixture
def context(browser: Browser) -> Iterator[BrowserContext]:
    context = browser.new_context()
    context.set_default_timeout(PATIENCE)
    yield context
    context.close()


@pytest.fixture
def space(daemon: Daemon) -> Iterator[Inside]:
    with inside(daemon) as space:
        yield space


@pytest.fixture
def page(context: BrowserContext) -> Page:
    return context.new_page()


def serve_site(space: Inside, **files: str) -> str:
    for name, content in files.items():
        space.write(name.replace("_", "."), content)
    space.write("site.py", SITE)
    space.start("python3 site.py")
    return space.preview(3000)


# --- used as at home -------------------------------------------------------------------------------------------


def test_python_http_server(space: Inside, page: Page) -> None:
    space.write("www/folder/hello.txt", "found it")
    space.start("python3 -m http.server -d www 8000")
    page.goto(space.preview(8000))
    expect(page.get_by_role("heading")).to_have_text("Directory listing for /")
    page.get_by_role("link", name="folder/").click()
    page.get_by_role("link", name="hello.txt").click()
    expect(page.locator("body")).to_have_text("found it")


@pytest.mark.parametrize("where", ["path", "host"])
def test_a_page_with_modules_websockets_and_events(daemon: Daemon, hosts: Daemon, page: Page, where: str) -> None:
    with inside(daemon if where == "path" else hosts) as space:
        url = serve_site(
            space, index_html=PAGE, module_js=MODULE, word_js='export const word = "word"', style_css=STYLE
        )
        page.goto(url)
        expect(page.locator("#styled")).to_have_css("color", "rgb(1, 2, 3)")
        expect(page.locator("#module")).to_have_text("word")
        expect(page.locator("#echo")).to_have_text("said")
        expect(page.locator("#events")).to_have_text("event 3")
        expect(page.locator("#posted")).to_have_text("hello")
        assert page.evaluate("origin") == ("null" if where == "path" else re.sub(r"/\?.*", "", url))
        assert "runnerd_preview=" not in page.url


def test_flask_s_development_server(hosts: Daemon, page: Page) -> None:
    if not Path("/usr/lib/python3/dist-packages/flask").exists():
        left_out("python3-flask is not installed: scripts/setup --tests does")
    with inside(hosts) as space:
        space.write("app.py", FLASK)
        space.write("static/style.css", STYLE)
        space.start("FLASK_DEBUG=1 /usr/bin/python3 -m flask run --port 5000")
        page.goto(space.preview(5000))
        expect(page.locator("h1")).to_have_css("color", "rgb(1, 2, 3)")
        page.locator("input").fill("Ada")
        page.get_by_role("button").click()
        expect(page.locator("#who")).to_have_text("Ada")
        space.write("app.py", FLASK.replace("VERSION", "NEW"))
        for _ in range(100):
            page.reload()
            if page.locator("h1").inner_text() == "NEW":
                break
        expect(page.locator("h1")).to_have_text("NEW")
        expect(page.locator("#who")).to_have_text("Ada")


# --- attacks ---------------------------------------------------------------------------------------------------

EVIL = """\
<!doctype html><title>evil</title><script>
const attempt = async (what) => { try { return await what() } catch (error) { return "refused" } }
const opened = (url) => new Promise((done) => {
    const socket = new WebSocket(url)
    socket.onopen = () => done("opened")
    socket.onerror = () => done("refused")
})
const CODE = '{"language":"bash","code":"id"}'
const DAEMON = "%(daemon)s", OTHER = "%(other)s"
const attacks = {
    api: async () => (await (await fetch(DAEMON + "/api/v1/languages")).json()).auth,
    run: async () => (await fetch(DAEMON + "/api/v1/execute", { method: "POST", body: CODE })).status,
    terminal: () => opened(DAEMON.replace("http", "ws") + "/api/v1/terminal"),
    space: () => opened(DAEMON.replace("http", "ws") + "/ws/spaces/x/"),
    cookie: () => { document.cookie = "evil=1; Path=/"; return document.cookie },
    storage: () => { localStorage.evil = 1; return localStorage.evil },
    opener: () => window.opener.document.title,
    parent: () => window.parent === window ? "refused" : window.parent.document.title,
    worker: async () => (await navigator.serviceWorker.register("sw.js")).scope ? "registered" : "refused",
    other: async () => (await (await fetch(OTHER, { credentials: "include" })).text()) === "private" ? "read" : "no",
    socket: () => opened(OTHER.replace("http", "ws") + "echo"),
}
addEventListener("load", async () => {
    const results = {}
    for (const [name, attack] of Object.entries(attacks)) results[name] = await attempt(attack)
    document.title = JSON.stringify(results)
})
</script>
"""


def outcome(page: Page, url: str) -> dict[str, Any]:
    page.goto(url)
    page.wait_for_function("document.title.startsWith('{')")
    return json.loads(page.title())


def evil(daemon: Daemon, other: str = "data:,") -> dict[str, str]:
    return {"evil_html": EVIL % {"daemon": daemon.url, "other": other}, "sw_js": ""}


def harmless(results: dict[str, Any]) -> None:
    """Refused, or without any effect: a cookie that is not kept, an answer that cannot be seen."""
    for name in ("api", "run", "terminal", "space", "parent", "opener", "other", "socket"):
        assert results[name] in ("refused", "no", ""), (name, results)


VISITOR: Any = {"name": "visitor", "value": "secret"}


def test_a_page_below_a_path_has_nothing_of_its_origin(
    browser: Browser, daemon: Daemon, space: Inside, page: Page
) -> None:
    """The control is the same page in a browser that heeds no Content-Security-Policy, which is what sandboxes it:
    there it has all that its origin has."""
    page.context.add_cookies([VISITOR | {"url": daemon.url}])
    url = serve_site(space, **evil(daemon))
    results = outcome(page, f"{url}evil.html")
    harmless(results)
    assert (results["cookie"], results["storage"], results["worker"]) == ("refused", "refused", "refused")

    unguarded = browser.new_context(bypass_csp=True)
    unguarded.add_cookies([VISITOR | {"url": daemon.url}])
    results = outcome(unguarded.new_page(), f"{url}evil.html")
    unguarded.close()
    assert (results["api"], results["run"], results["terminal"], results["space"]) == ("open", 200, "opened", "opened")
    assert "visitor=secret" in results["cookie"]
    assert results["storage"] == "1"
    assert results["worker"] == "refused", "which is refused by the daemon as well"


def test_a_frame_of_the_daemon_s_own_page(daemon: Daemon, space: Inside, page: Page) -> None:
    """Framed by a page of the daemon's origin; the control frames a page of that origin itself."""
    url = serve_site(space, **evil(daemon))
    page.route("**/embedder", lambda route: route.fulfill(body="<!doctype html><title>x", content_type="text/html"))
    page.goto(f"{daemon.url}/embedder")
    add = "url => { const frame = document.createElement('iframe'); frame.src = url; document.body.append(frame) }"
    page.evaluate(add, f"{url}evil.html")
    frame = page.frames[1]
    frame.wait_for_function("document.title.startsWith('{')")
    harmless(json.loads(frame.title()))
    seen = "() => { try { return window.frames[0].document.title } catch { return 'refused' } }"
    assert page.evaluate(seen) == "refused"
    page.evaluate("() => document.querySelector('iframe').src = '/healthz'")
    page.wait_for_function(f"({seen})() !== 'refused'")


def test_a_page_of_one_space_and_another_s_preview(daemon: Daemon, hosts: Daemon, page: Page) -> None:
    """The visitor has been at both, and browsers send cookies of hosts that are of the same site. The control is a page
    of the other space's own."""
    with inside(hosts) as victim, inside(hosts) as attacker:
        page.goto(serve_site(victim, index_html="private", **evil(hosts)))
        other = page.url
        expect(page.locator("body")).to_have_text("private")
        page.goto(serve_site(attacker, index_html="", **evil(hosts, other)))
        results = outcome(page, f"{page.url}evil.html")
        harmless(results)
        victim.write("evil.html", EVIL % {"daemon": hosts.url, "other": other})
        results = outcome(page, f"{other}evil.html")
        assert (results["other"], results["socket"]) == ("read", "opened")
        names = {(each["domain"], each["name"]) for each in page.context.cookies()}  # pyright: ignore[reportTypedDictNotRequiredAccess]
        assert len([name for _, name in names if name == "runnerd_preview"]) == 2
