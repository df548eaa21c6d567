"""`runnerd config` in this process."""

import json
from pathlib import Path

import pytest

from runnerd.cli import main
from runnerd.config import Config, load

Capture = pytest.CaptureFixture[str]


@pytest.mark.parametrize(
    ("text", "message", "hint"),
    [
        ("[boxes]\nmax = 0", "boxes.max is 0", ""),
        ("[boxes]\nmix = 1", "unknown key boxes.mix", "did you mean boxes.max?"),
        ('listen = "nonsense"', "listen is ", "HOST:PORT"),
        ("boxes = [", "not TOML", ""),
        ('listen = "0.0.0.0:80"\n[auth]\nmode = "open"', 'auth.mode is "open", and others can connect', "force_open"),
    ],
)
def test_check_says_what_is_wrong(tmp_path: Path, capfd: Capture, text: str, message: str, hint: str) -> None:
    file = tmp_path / "x.toml"
    file.write_text(text)
    assert main(["config", "check", str(file)]) == 1
    told = capfd.readouterr()
    assert f"{file}: {message}" in told.err
    assert hint in told.err
    assert not told.out
    assert main(["config", "check", "--json", str(file)]) == 1
    told = capfd.readouterr()
    problem = json.loads(told.out)
    assert problem["ok"] is False
    assert f"{file}: {message}" in problem["error"]
    assert hint in problem["hint"]
    assert not told.err


def test_check_of_what_is_right(tmp_path: Path, capfd: Capture) -> None:
    file = tmp_path / "x.toml"
    file.write_text('listen = "unix:/run/x"\n[profiles.big]\nmemory = "2GiB"\n')
    assert main(["config", "check", str(file)]) == 0
    assert capfd.readouterr().out == f"{file}: ok\n"
    assert main(["config", "check", "--json"]) == 0
    assert json.loads(capfd.readouterr().out) == {"ok": True}


def test_what_is_shown_reads_back_as_the_same(tmp_path: Path, capfd: Capture) -> None:
    file, shown = tmp_path / "x.toml", tmp_path / "shown.toml"
    file.write_text(
        '[http]\norigins = ["https://a.example"]\n[profiles.big]\nmemory = "2GiB"\n[prices.profiles]\nbig = 2\n'
    )
    assert main(["config", "show", str(file)]) == 0
    shown.write_text(capfd.readouterr().out)
    assert load(shown) == load(file) != Config()
    assert main(["config", "show", "--json", str(file)]) == 0
    assert json.loads(capfd.readouterr().out)["profiles"]["big"]["memory"] == 2 * 1024**3
