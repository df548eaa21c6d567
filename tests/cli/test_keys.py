"""`runnerd keys` in this process: what it prints, and that a daemon's open store sees it."""

import io
import json
import time
from pathlib import Path
from typing import Any

import pytest

from runnerd import tokens
from runnerd.cli import main
from runnerd.errors import Unauthorized
from runnerd.store.database import digest, open_store
from runnerd.store.engine import FILE

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
    daemon = open_store("", tmp_path)
    key = keys(capfd, tmp_path, "create", "--credits", "1")
    public = key["public_key"]
    assert daemon.verify(key["secret_key"]).public_key == public
    assert keys(capfd, tmp_path, "credit", public, "2") == {"public_key": public, "credits": 3}
    assert daemon.debit(public, 3, "run", "n1-1").balance == 0
    rotated = keys(capfd, tmp_path, "rotate", public)
    assert (rotated["public_key"], rotated["credits"]) == (public, 0)
    assert daemon.verify(rotated["secret_key"]).public_key == public
    with pytest.raises(Unauthorized):
        daemon.verify(key["secret_key"])
    assert keys(capfd, tmp_path, "revoke", public) == {"public_key": public, "revoked": True}
    with pytest.raises(Unauthorized):
        daemon.verify(rotated["secret_key"])
    daemon.close()


def test_a_key_and_its_ledger_are_shown(tmp_path: Path, capfd: Capture) -> None:
    rules = ["--profile", "widget", "--profile", "default", "--language", "python"]
    limits = ["--runs-at-a-time", "2", "--runs-per-minute", "30"]
    public = keys(capfd, tmp_path, "create", "--credits", "5", *rules, *limits)["public_key"]
    plain = keys(capfd, tmp_path, "create", "--credits", "0")["public_key"]
    shown = keys(capfd, tmp_path, "show", public)
    (line,) = shown.pop("ledger")
    assert (line["amount"], line["reason"], line["subject"]) == (5, "created", "")
    assert shown.pop("created") == pytest.approx(time.time(), abs=60)
    assert shown == {
        "public_key": public,
        "credits": 5,
        "note": "",
        "revoked": False,
        "profiles": ["widget", "default"],
        "languages": ["python"],
        "runs_at_a_time": 2,
        "runs_per_minute": 30,
    }
    assert keys(capfd, tmp_path, "show", plain)["profiles"] is None
    assert main(["keys", "show", public, "--state-dir", str(tmp_path)]) == 0
    text = capfd.readouterr().out
    for words in ("5 credits", "widget, default", "runs per minute  30", "+5  created"):
        assert words in text


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


@pytest.mark.parametrize("by", ["option", "environment", "standard input"])
def test_a_token_is_signed_without_a_store(by: str, capfd: Capture, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RUNNERD_STORE", "nonsense")
    words = ["keys", "sign", "rpk_a", "--json"]
    if by == "option":
        words += ["--secret-key", "rsk_a"]
    elif by == "environment":
        monkeypatch.setenv("RUNNERD_SECRET_KEY", "rsk_a")
    else:
        monkeypatch.setattr("sys.stdin", io.StringIO("rsk_a\n"))
    assert main(words) == 0
    made = json.loads(capfd.readouterr().out)
    assert made["public_key"] == "rpk_a"
    tokens.verify(tokens.parse(made["token"]), digest("rsk_a"), time.time())


def test_a_token_needs_a_secret_and_a_public_key(capfd: Capture, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO(""))
    assert main(["keys", "sign", "rpk_a"]) == 1
    assert "there is no secret key" in capfd.readouterr().err
    assert main(["keys", "sign", "not a key", "--secret-key", "x"]) == 1
    assert "malformed" in capfd.readouterr().err


@pytest.mark.parametrize("credits", ["-1", "x", "1.5", "", "9" * 20, "\u0663"])
def test_what_is_no_number_of_credits(tmp_path: Path, capfd: Capture, credits: str) -> None:
    with pytest.raises(SystemExit, match="2"):
        main(["keys", "create", f"--credits={credits}", "--state-dir", str(tmp_path)])
    assert f"{credits} is not a number of credits (0 or more)" in capfd.readouterr().err
    assert not list(tmp_path.iterdir())


def test_unknown_keys_are_told(tmp_path: Path, capfd: Capture) -> None:
    for words in (["revoke", "rpk_x"], ["credit", "rpk_x", "1"], ["rotate", "rpk_x"], ["show", "rpk_x"]):
        assert main(["keys", *words, "--state-dir", str(tmp_path)]) == 1
        assert "there is no key rpk_x" in capfd.readouterr().err


def test_the_configuration_names_the_store(tmp_path: Path, capfd: Capture) -> None:
    config = tmp_path / "runnerd.toml"
    config.write_text('store = "postgresql://me:secretword@/x?host=/nowhere"\n')
    assert main(["keys", "list", "--config", str(config), "--state-dir", str(tmp_path)]) == 1
    told = capfd.readouterr().err
    assert "opening the key store postgresql://me:***@" in told
    assert "secretword" not in told
