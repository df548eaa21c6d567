"""The page in headless Chromium against a real daemon: what a visitor does, with nothing stubbed but where said."""

import json
import re
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, BrowserContext, Locator, Page, Route, WebSocketRoute, expect, sync_playwright

from runnerd.store.database import open_store
from tests.e2e.serving import Daemon, serve
from tests.left_out import left_out

pytestmark = [pytest.mark.browser, pytest.mark.timeout(300)]

CHROMIUM = "/usr/bin/chromium"
ARGUMENTS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
PATIENCE = 90_000
"""Milliseconds: only the bound of a failure, on a machine that may do much else."""

ANSWERS = {
    "python": "Hello Ada, in 10 years you will be 46.",
    "javascript": "Hello Ada!",
    "c": "12 squared is 144",
    "cpp": "Hello Ada!",
    "java": "Hello Ada!",
    "bash": "Hello Ada!",
}
"""What each language's sample says to its own sample input."""


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """Of this module only: Playwright keeps an event loop running in the thread of the tests."""
    expect.set_options(timeout=PATIENCE)
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
        yield chromium
        chromium.close()


@pytest.fixture
def context(browser: Browser, daemon: Daemon) -> Iterator[BrowserContext]:
    context = browser.new_context(base_url=daemon.url, viewport={"width": 1280, "height": 760})
    context.set_default_timeout(PATIENCE)
    yield context
    context.close()


class Visitor:
    """What one sees and does on the page. `complaints` are console errors, policy violations and uncaught errors."""

    def __init__(self, page: Page) -> None:
        self.page = page
        self.complaints: list[str] = []
        page.on("console", lambda message: self._console(message.type, message.text))
        page.on("pageerror", lambda error: self.complaints.append(str(error)))
        self.picker = page.locator("#language")
        self.editor = page.locator("#editor .cm-content")
        self.terminal = page.locator("#terminal .xterm-rows")
        self.state = page.locator("#state")
        self.usage = page.locator("#usage")
        self.notice = page.locator("#notice")
        self.connection = page.locator("#connection")

    def _console(self, kind: str, text: str) -> None:
        if kind in ("error", "warning"):
            self.complaints.append(text)

    def arrive(self) -> None:
        self.page.goto("/")
        expect(self.button("Run")).to_be_enabled()
        expect(self.connection).to_have_text("connected")

    def button(self, name: str) -> Locator:
        return self.page.get_by_role("button", name=name, exact=True)

    def write(self, language: str, code: str) -> None:
        self.picker.select_option(language)
        self.rewrite(code)

    def rewrite(self, code: str) -> None:
        """As one insertion: typed line by line, the editor would indent and close brackets by itself."""
        self.editor.focus()
        self.press("Control+a")
        self.page.keyboard.insert_text(code)

    def run(self, language: str, code: str) -> None:
        self.write(language, code)
        self.button("Run").click()

    def type(self, text: str) -> None:
        """Keys to whatever has the focus, which Run gives to the terminal."""
        self.page.keyboard.type(text)

    def press(self, key: str) -> None:
        self.page.keyboard.press(key)

    def sees(self, text: str | re.Pattern[str]) -> None:
        expect(self.terminal).to_contain_text(text)

    def is_told(self, state: str | re.Pattern[str]) -> None:
        expect(self.state).to_have_text(state)


@pytest.fixture
def visitor(context: BrowserContext) -> Iterator[Visitor]:
    visitor = Visitor(context.new_page())
    visitor.arrive()
    yield visitor
    assert visitor.complaints == []


def catalogue(daemon: Daemon) -> dict[str, Any]:
    with urllib.request.urlopen(f"{daemon.url}/api/v1/languages", timeout=30) as response:
        return json.load(response)


@pytest.mark.parametrize("language", ANSWERS)
def test_sample_is_used_from_start_to_end(daemon: Daemon, visitor: Visitor, language: str) -> None:
    found = {each["id"]: each for each in catalogue(daemon)["languages"]}[language]
    if not found["available"]:
        left_out(f"{language} is not installed: {found['missing']}")
    visitor.picker.select_option(language)
    first_line = found["sample"]["code"].splitlines()[0]
    expect(visitor.page.locator("#editor .cm-line").first).to_have_text(first_line)
    visitor.button("Run").click()
    lines = found["sample"]["input"].splitlines()
    assert lines, "a sample that asks for nothing"
    for line in lines:
        visitor.is_told("waiting for input")
        visitor.type(line)
        visitor.sees(line)
        visitor.press("Enter")
    visitor.sees(ANSWERS[language])
    visitor.is_told("exited 0")
    visitor.sees("exited 0")
    amount = r"[\d.]+ (ms|s|min|KiB|MiB|GiB)"
    expect(visitor.usage).to_have_text(
        re.compile(rf"CPU {amount} · memory {amount} · time {amount}.* · first output after {amount}")
    )


def test_what_the_visitor_typed_is_what_runs_and_what_a_reload_keeps(visitor: Visitor) -> None:
    visitor.picker.select_option("python")
    visitor.editor.click()
    visitor.press("Control+a")
    visitor.type("name = input('Who? ')\nprint('Hi', name * 2)\n")
    visitor.button("Run").click()
    visitor.sees("Who?")
    visitor.is_told("waiting for input")
    visitor.type("Ada")
    visitor.press("Enter")
    visitor.sees("Hi AdaAda")
    visitor.is_told("exited 0")

    visitor.page.reload()
    expect(visitor.editor).to_contain_text("Who?")
    visitor.button("Reset to sample").click()
    expect(visitor.editor).not_to_contain_text("Who?")
    visitor.page.reload()
    expect(visitor.button("Run")).to_be_enabled()
    expect(visitor.editor).not_to_contain_text("Who?")


@pytest.mark.parametrize("how", ["key", "button"])
def test_ctrl_c_interrupts(visitor: Visitor, how: str) -> None:
    visitor.run("python", "import time\nprint('ready', flush=True)\ntime.sleep(600)\n")
    visitor.sees("ready")
    visitor.is_told("running")
    if how == "key":
        visitor.press("Control+c")
    else:
        visitor.button("Ctrl+C").click()
    visitor.sees("KeyboardInterrupt")
    visitor.is_told("ended by SIGINT")


def test_ctrl_c_with_a_selection_copies_and_the_next_one_interrupts(visitor: Visitor) -> None:
    visitor.run("python", "import time\nprint('ready', flush=True)\ntime.sleep(600)\n")
    visitor.sees("ready")
    visitor.page.locator("#terminal .xterm-screen").dblclick(position={"x": 12, "y": 8})
    expect(visitor.page.locator("#terminal .xterm-selection > div")).not_to_have_count(0)
    visitor.press("Control+c")
    expect(visitor.page.locator("#terminal .xterm-selection > div")).to_have_count(0)
    visitor.is_told("running")
    visitor.press("Control+c")
    visitor.sees("KeyboardInterrupt")


def test_stop_ends_a_program_that_ignores_everything(visitor: Visitor) -> None:
    visitor.run(
        "python", "import signal\nsignal.signal(signal.SIGINT, signal.SIG_IGN)\nprint('deaf', flush=True)\nwhile 1: 0\n"
    )
    visitor.sees("deaf")
    visitor.press("Control+c")
    visitor.sees("^C")
    visitor.is_told("running")
    visitor.button("Stop").click()
    visitor.is_told("stopped")
    expect(visitor.button("Stop")).to_be_disabled()
    expect(visitor.button("Ctrl+C")).to_be_disabled()


def test_run_again_replaces_the_running_program(visitor: Visitor) -> None:
    visitor.run("python", "print('old one', flush=True)\nwhile 1: 0\n")
    visitor.sees("old one")
    visitor.rewrite("print('new one')\n")
    visitor.button("Run again").click()
    visitor.sees("new one")
    visitor.is_told("exited 0")
    expect(visitor.terminal).not_to_contain_text("old one")


def test_terminal_resizes_with_its_pane(visitor: Visitor) -> None:
    visitor.run("bash", 'while read -r _; do echo "size=$(stty size)."; done\n')
    visitor.is_told("waiting for input")

    def size() -> tuple[int, int]:
        visitor.press("Enter")
        visitor.sees(re.compile(r"size=\d+ \d+\."))
        found = re.findall(r"size=(\d+) (\d+)\.", visitor.terminal.inner_text())
        return int(found[-1][0]), int(found[-1][1])

    def rows_shown() -> int:
        return visitor.page.locator("#terminal .xterm-rows > div").count()

    before = size()
    assert before[0] == rows_shown()
    visitor.page.set_viewport_size({"width": 1000, "height": 500})
    expect(visitor.page.locator("#terminal .xterm-rows > div")).not_to_have_count(before[0])
    narrower = eventually(size, lambda now: now[0] < before[0] and now[1] < before[1])
    assert narrower[0] == rows_shown()

    visitor.page.locator("#splitter").focus()
    for _ in range(5):
        visitor.press("ArrowLeft")
    visitor.page.locator("#terminal .xterm-helper-textarea").focus()
    eventually(size, lambda now: now[0] == narrower[0] and now[1] > narrower[1])


def eventually(look: Callable[[], tuple[int, int]], fits: Callable[[tuple[int, int]], bool]) -> tuple[int, int]:
    """A resize reaches the program a little after the pane: asks it again until it says so."""
    seen = look()
    for _ in range(100):
        if fits(seen):
            return seen
        seen = look()
    raise AssertionError(f"still {seen}")


def test_a_narrow_screen_stacks_the_panes(visitor: Visitor) -> None:
    visitor.page.set_viewport_size({"width": 420, "height": 760})
    editor = visitor.page.locator("#editor").bounding_box()
    terminal = visitor.page.locator("#terminal").bounding_box()
    assert editor is not None
    assert terminal is not None
    assert editor["y"] + editor["height"] <= terminal["y"]
    assert editor["width"] == terminal["width"] == 420
    expect(visitor.page.locator("#splitter")).to_have_attribute("aria-orientation", "horizontal")
    visitor.run("python", "print(input('Who? '))\n")
    visitor.sees("Who?")
    visitor.type("Ada\n")
    visitor.is_told("exited 0")


def test_utf8_input_reaches_the_program_whole(visitor: Visitor) -> None:
    visitor.run("python", "line = input('> ')\nprint(len(line), ascii(line))\n")
    visitor.is_told("waiting for input")
    visitor.type("aä€日🎉")
    visitor.sees("aä€")
    visitor.press("Enter")
    visitor.sees(r"5 'a\xe4\u20ac\u65e5\U0001f389'")


def test_arrow_keys_history_and_tab_belong_to_the_program(visitor: Visitor) -> None:
    visitor.run("bash", "exec bash --norc -i\n")
    visitor.is_told("waiting for input")
    visitor.type("echo one$((1 + 1))\n")
    visitor.sees("one2")
    visitor.press("ArrowUp")
    visitor.type("3\n")
    visitor.sees("one23")
    visitor.type("cat /etc/passw")
    visitor.press("Tab")
    visitor.sees("/etc/passwd")
    visitor.press("Control+c")
    visitor.press("Control+d")
    visitor.is_told(re.compile("exited"))


def test_a_failing_program_says_how(visitor: Visitor) -> None:
    visitor.run("python", "raise SystemExit(3)\n")
    visitor.is_told("exited 3")
    expect(visitor.state).to_have_attribute("data-state", "failed")


def test_a_compile_error_is_shown(daemon: Daemon, visitor: Visitor) -> None:
    if not {each["id"]: each for each in catalogue(daemon)["languages"]}["c"]["available"]:
        left_out("c is not installed")
    visitor.run("c", "int main(void) { return nothing; }\n")
    visitor.sees("error")
    visitor.is_told("did not compile")


def test_a_refused_start_is_told_with_its_hint(context: BrowserContext) -> None:
    """The page asks for a language that the daemon does not know; the daemon's own answer is shown."""
    page = context.new_page()
    answers: list[dict[str, Any]] = []

    def altered(socket: WebSocketRoute) -> None:
        server = socket.connect_to_server()
        socket.on_message(lambda frame: server.send(frame.replace('"python"', '"cobol"')))  # type: ignore[arg-type]

        def answered(frame: str | bytes) -> None:
            if isinstance(frame, str):
                answers.append(json.loads(frame))
            socket.send(frame)

        server.on_message(answered)

    page.route_web_socket(re.compile("/api/v1/terminal"), altered)
    visitor = Visitor(page)
    visitor.arrive()
    visitor.run("python", "print(1)\n")
    expect(visitor.notice).to_be_visible()
    visitor.is_told("not run to its end")
    [error] = [each for each in answers if each["type"] == "error"]
    assert error["code"] == "unknown_language"
    assert error["message"]
    assert error["hint"]
    expect(visitor.notice).to_contain_text(error["message"])
    expect(visitor.notice).to_contain_text(error["hint"])
    visitor.button("Dismiss").click()
    expect(visitor.notice).to_be_hidden()
    expect(visitor.button("Run")).to_be_enabled()


def test_a_broken_connection_comes_back_for_the_next_run(context: BrowserContext) -> None:
    page = context.new_page()
    sockets: list[WebSocketRoute] = []

    def passed(socket: WebSocketRoute) -> None:
        sockets.append(socket)
        socket.connect_to_server()

    page.route_web_socket(re.compile("/api/v1/terminal"), passed)
    visitor = Visitor(page)
    visitor.arrive()
    visitor.run("python", "print('ready', flush=True)\ninput()\n")
    visitor.sees("ready")
    sockets[-1].close(code=1001)
    expect(visitor.notice).to_contain_text("the connection was lost")
    visitor.is_told("not run to its end")
    expect(visitor.connection).to_have_text("connected")
    assert len(sockets) == 2
    visitor.run("python", "print('back again')\n")
    visitor.sees("back again")
    visitor.is_told("exited 0")
    expect(visitor.notice).to_be_hidden()


def test_a_missing_language_cannot_be_picked_and_says_what_to_install(context: BrowserContext) -> None:
    """The daemon's list with one language made to be missing."""

    def altered(route: Route) -> None:
        answer = route.fetch()
        body = answer.json()
        for language in body["languages"]:
            if language["id"] == "java":
                language.update(available=False, missing=[{"program": "javac", "package": "default-jdk-headless"}])
        route.fulfill(response=answer, json=body)

    page = context.new_page()
    page.route("**/api/v1/languages", altered)
    visitor = Visitor(page)
    visitor.arrive()
    option = visitor.picker.locator("option[value=java]")
    expect(option).to_have_text(re.compile("Java .*default-jdk-headless"))
    expect(option).to_be_disabled()


def test_the_way_limits_are_kept_is_told(daemon: Daemon, visitor: Visitor) -> None:
    mode = catalogue(daemon)["limits"]
    assert mode in ("cgroup", "best-effort")
    if mode == "best-effort":
        expect(visitor.page.locator("#limits")).to_be_visible()
    else:
        expect(visitor.page.locator("#limits")).to_be_hidden()


def test_a_flood_is_interrupted(visitor: Visitor) -> None:
    visitor.run("python", "line = 'flood ' * 11 + '\\n'\nimport sys\nwhile True:\n    sys.stdout.write(line * 50)\n")
    visitor.sees("flood")
    visitor.press("Control+c")
    visitor.is_told("ended by SIGINT")
    visitor.sees("KeyboardInterrupt")
    visitor.sees("ended by SIGINT")
    visitor.run("python", "print('alive')\n")
    visitor.sees("alive")
    expect(visitor.terminal).not_to_contain_text("flood")


def test_a_program_on_the_alternate_screen_leaves_a_usable_terminal(visitor: Visitor) -> None:
    visitor.run("python", r"print('before\n\x1b[?1049h\x1b[?1000h\x1b[?25linside', flush=True); input()")
    visitor.sees("inside")
    visitor.button("Stop").click()
    visitor.sees("before")
    visitor.sees("stopped")
    expect(visitor.terminal).not_to_contain_text("inside")


def test_keyboard_is_enough(visitor: Visitor) -> None:
    expect(visitor.editor).to_be_focused()
    visitor.press("Escape")
    visitor.press("Shift+Tab")
    for _ in range(8):
        if visitor.page.evaluate("document.activeElement.id") == "language":
            break
        visitor.press("Shift+Tab")
    expect(visitor.picker).to_be_focused()
    visitor.type("Pyth")
    expect(visitor.picker).to_have_value("python")
    visitor.press("Tab")
    expect(visitor.button("Run")).to_be_focused()
    visitor.press("Control+`")
    visitor.press("Control+`")
    expect(visitor.editor).to_be_focused()
    visitor.press("Control+a")
    visitor.type("print(input('Who? ')[::-1])\n")
    visitor.press("Control+Enter")
    visitor.is_told("waiting for input")
    visitor.type("Ada\n")
    visitor.sees("adA")
    visitor.is_told("exited 0")
    visitor.press("Control+`")
    expect(visitor.editor).to_be_focused()
    visitor.press("Control+`")
    visitor.press("Tab")
    terminal = visitor.page.locator("#terminal .xterm-helper-textarea")
    expect(terminal).not_to_be_focused()


RED = {"light": "rgb(196, 36, 43)", "dark": "rgb(244, 112, 103)"}
"""The palette's --ansi-1 in style.css."""


@pytest.mark.parametrize("scheme", RED)
def test_colours_follow_the_scheme_under_a_strict_policy(browser: Browser, daemon: Daemon, scheme: Any) -> None:
    context = browser.new_context(base_url=daemon.url, color_scheme=scheme)
    visitor = Visitor(context.new_page())
    response = visitor.page.goto("/")
    assert response is not None
    policy = response.headers["content-security-policy"]
    assert "unsafe" not in policy
    assert "script-src 'self'" in policy
    assert "style-src 'self'" in policy
    visitor.arrive()
    visitor.run("python", r"print('\x1b[38;2;255;120;0mtrue\x1b[0m \x1b[31mred\x1b[0m')")
    visitor.is_told("exited 0")

    visitor.sees("exited 0")

    def colour(locator: Locator, what: str = "color") -> list[int]:
        return [
            int(part)
            for part in re.findall(r"\d+", locator.evaluate("(node, what) => getComputedStyle(node)[what]", what))
        ]

    expect(visitor.terminal.get_by_text("true", exact=True)).to_have_css("color", "rgb(255, 120, 0)")
    expect(visitor.terminal.get_by_text("red", exact=True)).to_have_css("color", RED[scheme])
    assert colour(visitor.editor.get_by_text("print", exact=True)) != colour(visitor.editor)
    assert (sum(colour(visitor.page.locator("#terminal"), "backgroundColor")) < 384) == (scheme == "dark")
    assert (sum(colour(visitor.terminal)) > 384) == (scheme == "dark")
    assert visitor.page.locator("style").count() == 0
    assert visitor.complaints == []

    visitor.page.evaluate("document.head.append(Object.assign(document.createElement('style'), {textContent: 'p {}'}))")
    visitor.page.evaluate("document.body.setAttribute('style', 'color: red')")
    assert len(visitor.complaints) == 2, "the control: what the policy forbids is complained about"
    context.close()


# --- keys ----------------------------------------------------------------------------------------------------------


def test_no_key_is_asked_for_where_none_is_needed(visitor: Visitor) -> None:
    expect(visitor.page.locator("#key-form")).to_be_hidden()


def test_a_key_is_asked_for_and_kept_in_its_tab(browser: Browser, tmp_path: Path) -> None:
    with serve(tmp_path, "keys") as daemon:
        store = open_store("", daemon.state_dir)
        key = store.create_key(1)
        context = browser.new_context(base_url=daemon.url)
        context.set_default_timeout(PATIENCE)
        visitor = Visitor(context.new_page())
        visitor.arrive()
        field = visitor.page.get_by_label("Key", exact=True)
        expect(field).to_be_visible()

        visitor.run("bash", "echo never")
        expect(visitor.notice).to_contain_text("a key is needed")
        expect(field).to_be_focused()

        field.fill("rsk_wrong")
        field.press("Enter")
        expect(visitor.notice).to_contain_text("the key is not known")
        expect(field).to_have_value("")
        expect(visitor.connection).to_have_text("connected")

        field.fill(key.secret_key)
        field.press("Enter")
        visitor.run("bash", "echo one-$((40 + 2))")
        visitor.sees("one-42")
        visitor.is_told("exited 0")

        visitor.page.reload()
        expect(visitor.connection).to_have_text("connected")
        visitor.run("bash", "echo two-$((40 + 2)); sleep 600")
        visitor.sees("two-42")
        assert key.secret_key not in visitor.page.url
        assert key.secret_key not in str(context.storage_state())  # which is what outlives the tab

        store.revoke(key.public_key)
        expect(visitor.notice).to_contain_text("the key was revoked")
        expect(field).to_have_value("")
        expect(visitor.connection).to_have_text("connected")
        assert visitor.complaints == []
        other = context.new_page()
        other.goto("/")
        expect(other.get_by_label("Key", exact=True)).to_have_value("")
        context.close()
        store.close()
