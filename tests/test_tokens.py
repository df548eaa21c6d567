"""Widget tokens, and those that the snippets of docs/keys.md make."""

import hashlib
import hmac
import os
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runnerd import tokens
from runnerd.tokens import SKEW, BadToken

PUBLIC, SECRET, NOW = "rpk_0123456789ab", "rsk_secret", 1_700_000_000.5
DIGEST = hashlib.sha256(SECRET.encode()).digest()
SNIPPETS = dict(
    re.findall(
        r"```(python|javascript|php)\n(.*?)```", (Path(__file__).parents[1] / "docs/keys.md").read_text(), re.DOTALL
    )
)


def test_the_form_is_the_published_one() -> None:
    signature = hmac.new(DIGEST, b"rpk_0123456789ab.1700000000", hashlib.sha256).hexdigest()
    assert tokens.sign(PUBLIC, SECRET, NOW) == f"rpk_0123456789ab.1700000000_{signature}"


@pytest.mark.parametrize("age", [-SKEW, 0, 299, 300 + SKEW])
def test_a_token_of_the_right_age(age: float) -> None:
    token = tokens.parse(tokens.sign(PUBLIC, SECRET, 1_700_000_000))
    assert token.public_key == PUBLIC
    tokens.verify(token, DIGEST, 1_700_000_000 + age)


@pytest.mark.parametrize(
    ("age", "valid", "says"), [(331, 300, "too old"), (91, 60, "too old"), (-SKEW - 1, 300, "from the future")]
)
def test_a_token_of_another_age(age: float, valid: float, says: str) -> None:
    token = tokens.parse(tokens.sign(PUBLIC, SECRET, 1_700_000_000))
    with pytest.raises(BadToken, match=says) as refused:
        tokens.verify(token, DIGEST, 1_700_000_000 + age, valid)
    assert (refused.value.code, refused.value.status, refused.value.close) == ("bad_token", 401, 4401)


def test_a_token_of_another_key() -> None:
    with pytest.raises(BadToken, match="signature"):
        tokens.verify(tokens.parse(tokens.sign(PUBLIC, "rsk_other", NOW)), DIGEST, NOW)


@given(st.integers(0, 200), st.characters())
def test_a_token_that_was_changed_anywhere(at: int, other: str) -> None:
    whole = tokens.sign(PUBLIC, SECRET, NOW)
    at %= len(whole)
    changed = whole[:at] + other + whole[at + 1 :]
    if changed != whole:
        with pytest.raises(BadToken):
            tokens.verify(tokens.parse(changed), DIGEST, NOW)


@given(st.text())
def test_what_is_no_token(text: str) -> None:
    with pytest.raises(BadToken, match="malformed"):
        tokens.parse(text)


@pytest.mark.parametrize(
    ("language", "argv"),
    [
        ("python", [sys.executable, "-c"]),
        ("javascript", ["node", "-e"]),
        pytest.param("php", ["php", "-r"], marks=pytest.mark.skipif(not shutil.which("php"), reason="php is missing")),
    ],
)
def test_the_documents_snippets_make_tokens(language: str, argv: list[str]) -> None:
    snippet = SNIPPETS[language]
    assert len(snippet.splitlines()) <= 5
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    env = {"PUBLIC_KEY": PUBLIC, "SECRET_KEY": SECRET, "PATH": path}
    program = shutil.which(argv[0], path=path)
    assert program is not None
    made = subprocess.run(
        [program, *argv[1:], snippet], env=env, capture_output=True, check=True, text=True, timeout=60
    )
    tokens.verify(tokens.parse(made.stdout.strip()), DIGEST, time.time())
