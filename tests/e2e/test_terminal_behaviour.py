"""Programs in a box, on the caller's own terminal, behave as they do in a local one."""

import signal
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

import pytest

from tests.e2e.serving import BACKEND
from tests.e2e.typist import Typist, at_terminal

Run = Callable[..., AbstractContextManager[Typist]]


@pytest.fixture
def run(tmp_path: Path) -> Run:
    """`runnerd run` of a file with this text."""

    def run(name: str, text: str, *options: str) -> AbstractContextManager[Typist]:
        file = tmp_path / name
        file.write_text(text)
        return at_terminal(tmp_path / "state", "run", "--backend", BACKEND, *options, file)

    return run


@pytest.fixture
def shell(tmp_path: Path) -> Callable[[], AbstractContextManager[Typist]]:
    return lambda: at_terminal(tmp_path / "state", "shell", "--backend", BACKEND)


def test_a_run_says_which_limits_it_took(run: Run) -> None:
    with run("a.py", "print('out')") as t:
        t.expect(r"^(\x1b\[2m)?limits: (cgroup|best-effort: [^\r\n]{10,})(\x1b\[0m)?\r\nout\r\n$")
        assert t.status() == 0
    with run("a.py", "print('out')", "--limits", "best-effort") as t:
        t.expect(r"^(\x1b\[2m)?limits: best-effort(\x1b\[0m)?\r\nout\r\n$")
        assert t.status() == 0


def test_python_input(run: Run) -> None:
    with run("a.py", "name = input('Name: ')\nprint('Hello', name)\nraise SystemExit(3)") as t:
        t.expect("Name: $")
        t.type("Ada\r")
        t.expect("Hello Ada\r\n")
        assert t.status() == 3
        assert t.modes() == t.before


def test_scanf_after_printf_without_newline(run: Run) -> None:
    code = '#include <stdio.h>\nint main(void){int n;printf("Number: ");scanf("%d",&n);printf("%d\\n",n*2);return 0;}'
    with run("a.c", code) as t:
        t.expect("Number: $")
        t.type("21\r")
        t.expect("42\r\n")
        assert t.status() == 0


def test_node_readline(run: Run) -> None:
    code = (
        "const rl = require('readline').createInterface({input: process.stdin, output: process.stdout});\n"
        "rl.question('Name? ', name => { console.log('Hi ' + name); rl.close(); });"
    )
    with run("a.js", code) as t:
        t.expect(r"Name\? ")
        t.type("Bob\r")
        t.expect("Hi Bob")
        assert t.status() == 0


def test_control_c_interrupts_the_program(run: Run) -> None:
    with run("a.py", "import time\nprint('started', flush=True)\ntime.sleep(1000)") as t:
        t.expect("started")
        t.type("\x03")
        t.expect("KeyboardInterrupt")
        assert t.status() in (1, 130)
        assert t.modes() == t.before


def test_control_d_ends_input(run: Run) -> None:
    with run("a.sh", "cat; echo done") as t:
        t.type("line\r")
        t.expect("line\r\nline\r\n")
        t.type("\x04")
        t.expect("done")
        assert t.status() == 0


def test_utf_8_is_one_character_to_the_terminal(run: Run) -> None:
    with run("a.sh", 'echo ready; read -r line; echo "[$line]"; echo -n "$line" | wc -m') as t:
        t.expect("ready")
        t.type("aé日\x7f本\r")
        t.expect(r"\[aé本\]\r\n3\r\n")


def test_size_follows_the_window(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever variables say, which somebody may have exported."""
    monkeypatch.setenv("COLUMNS", "77")
    monkeypatch.setenv("LINES", "7")
    with run("a.sh", "trap 'stty size' WINCH; stty size; while :; do read -t 1 x; done") as t:
        t.expect("24 80")
        t.resize(40, 120)
        t.expect("40 120")


def test_colours_pass(run: Run) -> None:
    with run("a.sh", "tput colors; printf '\\033[38;5;208mx\\033[0m\\n'; tty") as t:
        t.expect("256\r\n")
        t.expect("\x1b\\[38;5;208mx\x1b\\[0m")
        t.expect("/dev/pts/0")


def test_termination_reaches_the_program(run: Run) -> None:
    with run("a.sh", "trap 'echo asked; exit 5' TERM; echo ready; while :; do sleep 0.1; done") as t:
        t.expect("ready")
        t.process.send_signal(signal.SIGTERM)
        t.expect("asked")
        assert t.status() == 5


def test_job_control(shell: Callable[[], AbstractContextManager[Typist]]) -> None:
    """The job says itself when it runs, so that no key comes while bash is still handing the terminal over."""
    with shell() as t:
        t.expect(r"\$ $")
        t.type("""bash -c 'trap "echo b""ack" CONT; echo n""ow; while :; do sleep 0.1; done'\r""")
        t.expect("now\r\n")
        t.type("\x1a")
        t.expect("Stopped")
        t.expect(r"\$ $")
        t.type("jobs\r")
        t.expect("Stopped")
        t.expect(r"\$ $")
        t.type("fg\r")
        t.expect("back\r\n")
        t.type("\x03")
        t.expect(r"\$ $")
        t.type("echo status $?\r")
        t.expect("status 130")
        t.expect(r"\$ $")
        t.type("exit 4\r")
        assert t.status() == 4


def test_less(shell: Callable[[], AbstractContextManager[Typist]]) -> None:
    with shell() as t:
        t.expect(r"\$ $")
        t.type("seq 1000 | less\r")
        t.expect("\r\n23\r\n")
        t.type(" ")
        t.expect("\r\n46")
        t.type("G")
        t.expect("1000")
        t.type("q")
        t.expect(r"\$ $")


def test_top(shell: Callable[[], AbstractContextManager[Typist]]) -> None:
    with shell() as t:
        t.expect(r"\$ $")
        t.type("top\r")
        t.expect("PID")
        t.expect("init")
        t.type("q")
        t.expect(r"\$ ")


def test_vim(shell: Callable[[], AbstractContextManager[Typist]]) -> None:
    with shell() as t:
        t.expect(r"\$ $")
        t.type("vim -u NONE note\r")
        t.expect("note")
        t.type("ihello from vim\x1b:wq\r")
        t.expect(r"\$ $")
        t.type("cat note\r")
        t.expect("hello from vim\r\n")


def test_python_shell_with_history(shell: Callable[[], AbstractContextManager[Typist]]) -> None:
    with shell() as t:
        t.expect(r"\$ $")
        t.type("python3 -i\r")
        t.expect(">>> ")
        t.type("6 * 7\r")
        t.expect("42\r\n")
        t.expect(">>> ")
        t.type("\x1b[A\x1b[D\x1b[D\x1b[D\x1b[D1\r")
        t.expect("427\r\n")  # 61 * 7
        t.expect(">>> ")
        t.type("\x04")
        t.expect(r"\$ $")
