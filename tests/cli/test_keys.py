"""`runnerd keys` in this process: what it prints, and that a daemon's open store sees it."""

import json
from pathlib import Path
from typing import Any

import pytest

from runnerd.cli import main
from runnerd.errors import Unauthorized
from runnerd.store import FILE, Store

Capture = pytest.CaptureFixture[str]


def keys(capfd: Capture, state: Path, *words: str) -> Any:
    assert main(["keys", *words, "--json", "--state-dir", str(state)]) == 0
    return json.loads(capfd.readouterr().out)


def test_a_key_is_made_where_nothing_was(tmp_path: Path, capfd: Capture) -> None:
    key = keys(capfd, tmp_path / "a" / "b", "create", "--credits", "7", "--note", "a course")
    assert set(key) == {"public_key", "secret_key", "credits"}
    assert key["credits"] == 7
    assert (tmp_path / "a" / "b" / FILE).exists()
    (listed,) = keys(capfd, tmp_path / "a" / "b", "list")
    assert (listed["public_key"], listed["note"], listed["revoked"]) == (key["public_key"], "a course", False)
    assert key["secret_key"] not in json.dumps(listed)


def test_an_open_store_sees_it_at_once(tmp_path: Path, capfd: Capture) -> None:
    daemon = Store(tmp_path)
    key = keys(capfd, tmp_path, "create", "--credits", "1")
    assert daemon.verify(key["secret_key"]).public_key == key["public_key"]
    assert keys(capfd, tmp_path, "add-credits", key["public_key"], "2")["credits"] == 3
    assert daemon.charge(key["public_key"], 3) == 0
    assert keys(capfd, tmp_path, "revoke", key["public_key"]) == {"public_key": key["public_key"], "revoked": True}
    with pytest.raises(Unauthorized):
        daemon.verify(key["secret_key"])


def test_text_for_people(tmp_path: Path, capfd: Capture) -> None:
    state = ["--state-dir", str(tmp_path)]
    assert main(["keys", "create", "--credits", "5", *state]) == 0
    made = capfd.readouterr().out
    assert "rsk_" in made
    assert "cannot be shown again" in made
    assert main(["keys", "list", *state]) == 0
    shown = capfd.readouterr().out
    assert "rpk_" in shown
    assert "rsk_" not in shown


@pytest.mark.parametrize("credits", ["-1", "x", "1.5", "", "9" * 20, "\u0663"])
def test_what_is_no_number_of_credits(tmp_path: Path, capfd: Capture, credits: str) -> None:
    with pytest.raises(SystemExit, match="2"):
        main(["keys", "create", f"--credits={credits}", "--state-dir", str(tmp_path)])
    assert f"{credits} is not a number of credits (0 or more)" in capfd.readouterr().err
    assert not list(tmp_path.iterdir())


def test_unknown_keys_are_told(tmp_path: Path, capfd: Capture) -> None:
    for words in (["revoke", "rpk_nosuch"], ["add-credits", "rpk_nosuch", "1"]):
        assert main(["keys", *words, "--state-dir", str(tmp_path)]) == 1
        assert "there is no key rpk_nosuch" in capfd.readouterr().err
