"""Widget tokens: short-lived proof that a page's server knows a secret key, without telling the key. Pure.

`<public_key>.<unix seconds>_<hex>`, where hex is HMAC-SHA256 of "<public_key>.<unix seconds>", keyed by the 32 bytes of
SHA-256(secret key): exactly what the store keeps, so that both ends can make it.
"""

import hashlib
import hmac
import re

import msgspec

from runnerd.errors import Unauthorized

SKEW = 30.0
"""Seconds that the clock of who signed may be ahead of ours."""

_FORM = re.compile(r"([A-Za-z0-9_-]{1,64})\.([0-9]{1,12})_([0-9a-f]{64})")


class BadToken(Unauthorized):
    """A token is malformed, too old, from the future, or signed by another key."""

    code = "bad_token"


class Token(msgspec.Struct, frozen=True):
    """A token's parts; nothing is checked yet but their form. `time` is seconds since the epoch, as it was written."""

    public_key: str
    time: str
    signature: str


def sign(public_key: str, secret_key: str, now: float) -> str:
    """A token of this moment, `now` in seconds since the epoch."""
    time = str(int(now))
    return f"{public_key}.{time}_{_signature(public_key, time, hashlib.sha256(secret_key.encode()).digest())}"


def parse(text: str) -> Token:
    """Raises BadToken unless it has the form of one."""
    match = _FORM.fullmatch(text)
    if match is None:
        raise BadToken("the token is malformed", hint="it is PUBLIC_KEY.UNIX_SECONDS_HEX, see docs/keys.md")
    return Token(*match.groups())


def verify(token: Token, digest: bytes, now: float, valid: float = 300.0) -> None:
    """Raise BadToken unless the secret key of this digest signed it, at most `valid` seconds ago, give or take SKEW."""
    if not hmac.compare_digest(token.signature, _signature(token.public_key, token.time, digest)):
        raise BadToken("the token's signature is wrong", hint="sign it with the secret key, see docs/keys.md")
    age = now - int(token.time)
    if age > valid + SKEW:
        raise BadToken("the token is too old", hint=f"a token is good for {valid:g} s: make one for each visitor")
    if age < -SKEW:
        raise BadToken("the token is from the future", hint="set the clock of the server that signs")


def _signature(public_key: str, time: str, digest: bytes) -> str:
    return hmac.new(digest, f"{public_key}.{time}".encode(), hashlib.sha256).hexdigest()
