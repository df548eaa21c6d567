"""`runnerd serve` as a command: what it refuses, and how it says so."""

import argparse
import socket
import subprocess
from pathlib import Path
from typing import Any

import pytest

from runnerd.cli import serve
from runnerd.errors import SetupError


def run(*words: str) -> int:
    parser = argparse.ArgumentParser(prog="runnerd")
    serve.add_parser(parser.add_subparsers())
    args = parser.parse_args(["serve", *words])
    return args.func(args)


def test_settings_come_from_the_file_and_then_the_options(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[Any] = []
    monkeypatch.setattr("runnerd.server.daemon.run_daemon", lambda *given: seen.append(given))
    file = tmp_path / "runnerd.toml"
    file.write_text('listen = "127.0.0.1:1"\nstate_dir = "/from/file"\n[boxes]\nmax = 3\n')
    assert run("--config", str(file)) == 0
    assert run("--config", str(file), "--listen", "unix:/x", "--state-dir", str(tmp_path), "--limits", "auto") == 0
    (first, first_limits, read), (second, second_limits, _) = seen
    assert (first.listen, first.state_dir, first.boxes.max, first_limits) == ("127.0.0.1:1", "/from/file", 3, "cgroup")
    assert (second.listen, second.state_dir, second.boxes.max) == ("unix:/x", str(tmp_path), 3)
    assert second_limits == "auto"
    file.write_text("[boxes]\nmax = 4\n")
    assert read().boxes.max == 4


def test_whether_a_key_is_needed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[Any] = []
    monkeypatch.setattr("runnerd.server.daemon.run_daemon", lambda *given: seen.append(given))
    file = tmp_path / "runnerd.toml"
    file.write_text('[auth]\nmode = "open"\nquery_key = true\n')
    assert run() == run("--auth", "open") == run("--config", str(file), "--auth", "keys") == 0
    assert [settings.auth.mode for settings, *_ in seen] == ["keys", "open", "keys"]
    assert seen[2][0].auth.query_key


def test_open_to_others_is_refused_unless_forced(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    class Reached(Exception):
        pass

    def reached() -> None:
        raise Reached

    monkeypatch.setattr("runnerd.server.daemon.prepare_process", reached)
    assert run("--listen", "0.0.0.0:0", "--auth", "open") == 2
    assert "auth.force_open" in refused(capsys)
    file = tmp_path / "runnerd.toml"
    file.write_text("[auth]\nforce_open = true\n")
    for words in (["--listen", "0.0.0.0:0", "--auth", "open", "--config", str(file)], ["--auth", "open"]):
        with pytest.raises(Reached):
            run(*words)


@pytest.mark.parametrize(
    ("words", "is_open"),
    [
        ([], True),
        (["--listen", "127.0.0.1:9"], True),
        (["--listen=[::1]:9"], True),
        (["--listen", "unix:/x"], True),
        (["--listen", "0.0.0.0:9"], False),
        (["--listen=0.0.0.0:9"], False),
        (["--listen", "127.0.0.1:9", "--listen", "0.0.0.0:9"], False),
        (["--state-dir", "0.0.0.0"], True),
    ],
)
def test_the_script_is_open_on_loopback(tmp_path: Path, words: list[str], is_open: bool) -> None:
    (tmp_path / "scripts").mkdir()
    (tmp_path / ".venv/bin").mkdir(parents=True)
    for name, text in (("scripts/setup", "true"), (".venv/bin/runnerd", 'echo "$@"')):
        (tmp_path / name).write_text(f"#!/bin/sh\n{text}\n")
        (tmp_path / name).chmod(0o755)
    script = tmp_path / "scripts/serve"
    script.write_bytes((Path(__file__).parents[2] / "scripts/serve").read_bytes())
    done = subprocess.run(["bash", script, *words], capture_output=True, check=True, text=True, timeout=60)
    assert ("--auth open" in done.stdout) == is_open
    assert done.stdout.startswith("serve --listen 127.0.0.1:8080 --limits auto")
    assert done.stdout.strip().endswith(" ".join(words))


def refused(capsys: pytest.CaptureFixture[str]) -> str:
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith("runnerd: ")
    assert "Traceback" not in captured.err
    return captured.err


def test_a_wrong_setting_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "runnerd.toml"
    file.write_text("[boxes]\nmax = 0\n")
    assert run("--config", str(file)) == 2
    assert "boxes.max" in refused(capsys)


def test_a_wrong_address_is_named(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    assert run("--listen", "nonsense") == 2
    assert "HOST:PORT" in refused(capsys)


def test_a_port_in_use_is_named(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("runnerd.server.daemon.prepare_process", lambda: None)
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        assert run("--listen", f"127.0.0.1:{port}", "--limits", "auto") == 1
    assert f"listening on 127.0.0.1:{port}: Address already in use" in refused(capsys)


def test_a_host_without_cgroups_is_refused_with_the_ways_out(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_cgroups(config: Any, *, limits: str, state_dir: Path) -> None:
        assert limits == "cgroup"
        raise SetupError("cgroup v2 is not delegated here", hint="start with --limits best-effort")

    monkeypatch.setattr("runnerd.server.daemon.prepare_process", lambda: None)
    monkeypatch.setattr("runnerd.server.daemon.open_host", no_cgroups)
    assert run("--listen", "127.0.0.1:0") == 1
    message = refused(capsys)
    assert "cgroup v2 is not delegated" in message
    assert "--limits best-effort" in message


def test_help_names_every_option(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        run("--help")
    assert caught.value.code == 0
    text = capsys.readouterr().out
    assert all(option in text for option in ("--listen", "--state-dir", "--config", "--limits"))
