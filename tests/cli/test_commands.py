"""The commands as a shell runs them: what they print, where, and their exit status."""

import json
import os
import pty
import signal
import subprocess
import sys
from hashlib import sha256
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from runnerd.cli.attend import limits_taken

RUNNERD = Path(sys.executable).with_name("runnerd")


def runnerd(*words: str | Path, stdin: bytes = b"") -> subprocess.CompletedProcess[bytes]:
    return subprocess.run([RUNNERD, *words], input=stdin, capture_output=True, timeout=60)


@pytest.fixture
def state(tmp_path: Path) -> list[str | Path]:
    return ["--state-dir", tmp_path / "state"]


def test_help_names_every_command() -> None:
    shown = runnerd("--help").stdout.decode()
    for command in ("serve", "run", "shell", "doctor", "toolchains", "keys", "config", "seccomp"):
        assert command in shown


@pytest.mark.parametrize("words", [(), ("dance",), ("run",), ("keys", "create"), ("serve", "--limits", "some")])
def test_wrong_usage(words: tuple[str, ...]) -> None:
    done = runnerd(*words)
    assert done.returncode == 2
    assert b"usage: runnerd" in done.stderr


def test_run_on_pipes(tmp_path: Path, state: list[str | Path]) -> None:
    file = tmp_path / "a.py"
    file.write_text("import sys\nprint(input(), sys.argv[1:])\nprint('err', file=sys.stderr)\nraise SystemExit(9)")
    done = runnerd("run", *state, file, "--x", "y", stdin=b"Ada\n")
    assert (done.returncode, done.stdout, done.stderr) == (9, b"Ada ['--x', 'y']\n", b"err\n")


def test_pipes_are_exact_and_large(tmp_path: Path, state: list[str | Path]) -> None:
    file = tmp_path / "a.sh"
    file.write_text("exec sha256sum")
    data = bytes(range(256)) * 40_000
    assert runnerd("run", *state, file, stdin=data).stdout.split()[0].decode() == sha256(data).hexdigest()
    file.write_text("exec cat")  # more than a profile for others would let through
    done = runnerd("run", *state, file, stdin=data)
    assert (done.returncode, done.stdout == data, done.stderr) == (0, True, b"")


def test_signals_are_told_as_a_shell_does(tmp_path: Path, state: list[str | Path]) -> None:
    file = tmp_path / "a.sh"
    file.write_text("kill -SEGV $$")
    assert runnerd("run", *state, file).returncode == 128 + 11


def test_limits_are_told(tmp_path: Path, state: list[str | Path]) -> None:
    config = tmp_path / "runnerd.toml"
    config.write_text("[profiles.local]\nwall = 0.3\n[profiles.small]\nmemory = '32MiB'\n")
    sleep, eat = tmp_path / "sleep.sh", tmp_path / "eat.py"
    sleep.write_text("sleep 100")
    eat.write_text("data = []\nwhile True: data.append(bytearray(1 << 20))")
    done = runnerd("run", *state, "--config", config, sleep)
    assert done.returncode == 124
    assert b"wall" in done.stderr
    done = runnerd("run", *state, "--config", config, "--profile", "small", eat)
    assert done.returncode == 137
    assert b"memory" in done.stderr


@pytest.mark.parametrize(
    ("name", "text", "words"),
    [
        ("nosuch.py", None, b"No such file"),
        ("../", None, b"Is a directory"),
        ("a.cobol", "", b"no language is known"),
        ("a.c", "int x", b"error"),
    ],
)
def test_errors_are_told_without_a_traceback(
    tmp_path: Path, state: list[str | Path], name: str, text: str | None, words: bytes
) -> None:
    file = tmp_path / name
    if text is not None:
        file.write_text(text)
    done = runnerd("run", *state, file)
    assert done.returncode == 1
    assert words in done.stderr
    assert b"Traceback" not in done.stderr


def test_an_unknown_profile_is_told_without_a_traceback(tmp_path: Path, state: list[str | Path]) -> None:
    file = tmp_path / "a.py"
    file.write_text("")
    done = runnerd("run", *state, "--profile", "nosuch", file)
    assert (done.returncode, done.stderr) == (1, b"runnerd: there is no profile 'nosuch'\n")


def test_a_second_signal_ends_it_though_its_reader_is_stuck(tmp_path: Path, state: list[str | Path]) -> None:
    file = tmp_path / "a.sh"
    file.write_text("trap '' TERM; yes")
    words = [RUNNERD, "run", *state, file]
    with subprocess.Popen(words, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        try:
            assert process.stdout is not None
            os.read(process.stdout.fileno(), 1)
            for _ in range(20):  # two that come at once are one
                process.send_signal(signal.SIGTERM)
                try:
                    assert process.wait(1) == 137
                    break
                except subprocess.TimeoutExpired:
                    continue
            assert process.returncode == 137
        finally:
            process.kill()


def test_a_terminal_that_goes_away_ends_the_run(tmp_path: Path, state: list[str | Path]) -> None:
    file = tmp_path / "a.sh"
    file.write_text("echo ready; cat")
    master, slave = pty.openpty()
    words = ["setsid", "--ctty", RUNNERD, "run", *state, file]
    with subprocess.Popen(words, stdin=slave, stdout=slave, stderr=subprocess.PIPE) as process:
        try:
            os.close(slave)
            shown = b""
            while b"ready" not in shown:
                shown += os.read(master, 4096)
            os.close(master)
            assert process.wait(30) == 137
            assert process.stderr is not None
            assert process.stderr.read() == b"runnerd: killed: interrupted\n"
        finally:
            process.kill()


@pytest.mark.parametrize(
    ("mode", "weaker", "line"),
    [
        ("cgroup", "", "limits: cgroup"),
        ("best-effort", "", "limits: best-effort"),
        (
            "best-effort",
            "no unified cgroup v2\n  on /sys/fs/cgroup",
            "limits: best-effort: no unified cgroup v2 on /sys/fs/cgroup",
        ),
    ],
)
def test_limits_are_told_in_one_line(mode: str, weaker: str, line: str) -> None:
    host: Any = SimpleNamespace(limits_mode=mode, weaker=weaker)
    assert limits_taken(host) == line


def test_serve_refuses_limits_it_cannot_hold(state: list[str | Path]) -> None:
    done = runnerd("serve", *state, "--listen", "127.0.0.1:0")
    assert done.returncode == 1
    assert b"cgroup" in done.stderr
    assert b"--limits best-effort" in done.stderr


def test_keys(state: list[str | Path]) -> None:
    key = json.loads(runnerd("keys", "create", "--credits", "7", "--json", *state).stdout)
    assert key["credits"] == 7
    assert key["secret_key"] not in runnerd("keys", "list", *state).stdout.decode()
    assert json.loads(runnerd("keys", "credit", key["public_key"], "3", "--json", *state).stdout)["credits"] == 10
    assert runnerd("keys", "revoke", key["public_key"], *state).returncode == 0
    assert json.loads(runnerd("keys", "list", "--json", *state).stdout)[0]["revoked"] is True
    assert runnerd("keys", "revoke", "rpk_nosuch", *state).returncode == 1


def test_config(tmp_path: Path) -> None:
    file = tmp_path / "x.toml"
    file.write_text("[boxes]\nmax = 0\n")
    done = runnerd("config", "check", file)
    assert done.returncode == 1
    assert b"boxes.max" in done.stderr
    shown = tmp_path / "shown.toml"
    shown.write_bytes(runnerd("config", "show").stdout)
    assert runnerd("config", "check", shown).returncode == 0


def test_seccomp() -> None:
    assert b"EPERM" in runnerd("seccomp", "explain", "ptrace").stdout
    assert runnerd("seccomp", "explain", "nosuchcall").returncode == 1
    assert json.loads(runnerd("seccomp", "list", "--json").stdout)[0]["name"] == "allow"


def test_limits_that_a_language_raises_are_shown() -> None:
    lines = dict(line.split(maxsplit=1) for line in runnerd("toolchains", "list").stdout.decode().splitlines())
    assert "raises memory to at least 536870912, processes to at least 128" in lines["java"]
    assert "raises" not in lines["bash"]
    rows = {row["id"]: row["raises"] for row in json.loads(runnerd("toolchains", "list", "--json").stdout)}
    assert (rows["java"]["processes"], rows["bash"]) == (128, {})


def test_toolchains_work_in_boxes(state: list[str | Path]) -> None:
    results = json.loads(runnerd("toolchains", "check", "--json", *state).stdout)
    assert {result["id"]: result["message"] for result in results if not (result["ok"] or result["missing"])} == {}
    # Those that scripts/setup does not install.
    assert {result["id"] for result in results if result["missing"]} <= {"go", "rust"}
    assert len(results) == 8


def test_what_languages_run_faster_by_is_made_once(state: list[str | Path]) -> None:
    for expected in ("MB in", "is prepared already"):
        (made,) = json.loads(runnerd("toolchains", "prepare", "cpp", "--json", *state).stdout)
        assert (made["id"], made["ok"]) == ("cpp", True)
        assert expected in made["message"]
    assert json.loads(runnerd("toolchains", "prepare", "python", "--json", *state).stdout) == []


def test_a_second_run_is_spared_the_compiler(tmp_path: Path) -> None:
    state = ("--state-dir", tmp_path / "state", "--limits", "best-effort")
    file = tmp_path / "hello.c"
    file.write_text('#include <stdio.h>\nint main(void) { int n; puts("hello"); return 4; }\n')
    first, second = (runnerd("run", *state, file) for _ in range(2))
    assert (first.returncode, first.stdout) == (second.returncode, second.stdout) == (4, b"hello\n")
    assert b"unused variable" in first.stderr
    assert first.stderr == second.stderr
    assert len(list((tmp_path / "state/cache/compiled").iterdir())) == 1


def test_doctor(tmp_path: Path, state: list[str | Path]) -> None:
    findings = json.loads(runnerd("doctor", "--json", *state).stdout)
    assert [finding for finding in findings if finding["grade"] == "missing"] == []
    config = tmp_path / "x.toml"
    config.write_text('bubblewrap = "/nonexistent/bwrap"')
    done = runnerd("doctor", "--config", config, *state)
    assert done.returncode == 1
    assert b"bubblewrap" in done.stdout


def test_doctor_asks_for_nsjail_only_where_it_is_used(tmp_path: Path, state: list[str | Path]) -> None:
    def grades(*options: str | Path) -> tuple[int, dict[str, str]]:
        done = runnerd("doctor", "--json", *options, *state)
        return done.returncode, {finding["check"]: finding["grade"] for finding in json.loads(done.stdout)}

    config = tmp_path / "x.toml"
    config.write_text('nsjail = "/nonexistent/nsjail"')
    status, found = grades("--config", config)
    assert (status, found["nsjail"], found["a box"]) == (0, "ok", "ok")
    status, found = grades("--config", config, "--backend", "nsjail")
    assert (status, found["nsjail"], found["a box"]) == (1, "missing", "missing")
    config.write_text('bubblewrap = "/nonexistent/bwrap"')
    status, found = grades("--config", config, "--backend", "nsjail")
    assert (status, found["bubblewrap"], found["nsjail"], found["a box"]) == (0, "warning", "ok", "ok")
