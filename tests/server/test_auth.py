import time
from typing import Any, Literal

import pytest
from server_fakes import FakeStore, accounts_of

from runnerd import tokens
from runnerd.config import Auth
from runnerd.errors import ConfigError, SetupError, Unauthorized
from runnerd.server.accounts import Accounts
from runnerd.server.auth import Client, Doorkeeper, check_settings, key_in
from runnerd.server.head import Head


def head(**headers: str) -> Head:
    return Head("GET", "/", "1.1", tuple((name.replace("_", "-"), value) for name, value in headers.items()))


def test_a_key_comes_by_either_header() -> None:
    assert key_in(head(authorization="Bearer abc")) == "abc"
    assert key_in(head(authorization="bearer  abc ")) == "abc"
    assert key_in(head(x_api_key="abc")) == "abc"
    assert key_in(head(authorization="Bearer abc", x_api_key="other")) == "abc"
    assert key_in(head()) is None


@pytest.mark.parametrize("value", ["Basic abc", "Bearer", "Bearer ", "abc", ""])
def test_another_scheme_is_refused(value: str) -> None:
    with pytest.raises(Unauthorized):
        key_in(head(authorization=value))


@pytest.mark.parametrize(
    ("mode", "loopback", "force", "allowed"),
    [
        ("keys", True, False, True),
        ("keys", False, False, True),
        ("open", True, False, True),
        ("open", False, False, False),
        ("open", False, True, True),
    ],
)
def test_open_is_for_loopback_unless_forced(
    mode: Literal["keys", "open"], loopback: bool, force: bool, allowed: bool
) -> None:
    settings = Auth(mode=mode, force_open=force)
    if allowed:
        check_settings(settings, "0.0.0.0:80", loopback=loopback)
    else:
        with pytest.raises(ConfigError, match=r"0\.0\.0\.0:80"):
            check_settings(settings, "0.0.0.0:80", loopback=loopback)


def keeper(mode: Literal["keys", "open"], store: FakeStore | None = None, **settings: Any) -> Doorkeeper:
    return Doorkeeper(accounts_of(store or FakeStore()), Auth(mode=mode, **settings))


@pytest.mark.parametrize("mode", ["keys", "open"])
async def test_a_key_that_is_given_must_be_right(mode: Literal["keys", "open"]) -> None:
    assert (await keeper(mode).check("right")).public_key == "right"
    with pytest.raises(Unauthorized):
        await keeper(mode).check("wrong")


async def test_without_a_key() -> None:
    stranger, known = Client(None, "192.0.2.1"), Client(await keeper("keys").check("right"), "192.0.2.1")
    keeper("open").require_key(stranger)
    keeper("keys").require_key(known)
    with pytest.raises(Unauthorized, match="a key is needed"):
        keeper("keys").require_key(stranger)


def test_a_key_in_the_query_counts_only_where_that_is_configured() -> None:
    asked = Head("GET", "/ws?x=1&api_key=a%2Bc", "1.1", ())
    assert keeper("keys").key_in(asked) is None
    assert keeper("keys", query_key=True).key_in(asked) == "a+c"
    assert keeper("keys", query_key=True).key_in(Head("GET", "/ws", "1.1", ())) is None
    assert keeper("keys", query_key=True).key_in(Head("GET", "/?api_key=a", "1.1", (("x-api-key", "b"),))) == "b"


async def test_tokens() -> None:
    store = FakeStore("right", "other")
    token = tokens.sign("right", "right", time.time())
    known = await keeper("keys", store).check_token(token)
    assert known is not None
    assert known.public_key == "right"
    old = tokens.sign("right", "right", time.time() - 100)
    await keeper("keys", store).check_token(old)
    foreign = tokens.sign("right", "other", time.time())
    unknown = tokens.sign("nobody", "nobody", time.time())
    for wrong in (foreign, unknown, "", "right", token[:-1]):
        with pytest.raises(Unauthorized):
            await keeper("keys", store).check_token(wrong)
        assert await keeper("open", store).check_token(wrong) is None
    with pytest.raises(Unauthorized, match="too old"):
        await keeper("keys", store, token_valid=60.0).check_token(old)
    store.revoked.add("right")
    with pytest.raises(Unauthorized, match="not known"):
        await keeper("keys", store).check_token(token)


async def test_a_store_that_cannot_be_opened_is_tried_again() -> None:
    stores: list[Any] = [SetupError("no room"), FakeStore()]

    def open_store() -> Any:
        store = stores.pop(0)
        if isinstance(store, Exception):
            raise store
        return store

    keeper = Doorkeeper(Accounts(open_store), Auth())
    with pytest.raises(SetupError):
        await keeper.check("right")
    assert (await keeper.check("right")).public_key == "right"
    assert (await keeper.check("right")).public_key == "right"
