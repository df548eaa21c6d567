"""Who asks: keys and tokens from headers and messages, checked against the store."""

import time
from urllib.parse import parse_qs

import msgspec

from runnerd import tokens
from runnerd.config import Auth
from runnerd.errors import ConfigError, NotFound, Unauthorized
from runnerd.server.accounts import Accounts
from runnerd.server.head import Head
from runnerd.server.revocations import Revocations
from runnerd.store import StoredKey


class Client(msgspec.Struct, frozen=True):
    """Who asks, for admission: the key that was given and checked, if any; and an address as text ("unix" for a Unix
    socket)."""

    key: StoredKey | None
    address: str


class Doorkeeper:
    """Checks keys and tokens; `revocations` tells when one that was right is no more. `open`: none is needed."""

    def __init__(self, accounts: Accounts, settings: Auth) -> None:
        self._accounts = accounts
        self.revocations = Revocations(accounts)
        self.adopt(settings)

    def adopt(self, settings: Auth) -> None:
        """Check by these settings from now on."""
        self._settings = settings
        self.open = settings.mode == "open"

    async def check(self, key: str) -> StoredKey:
        """The key of a secret. Raises Unauthorized, also where none would be needed."""
        return await self._accounts.ask(lambda store: store.verify(key))

    async def check_token(self, text: str) -> StoredKey | None:
        """The key that signed a widget's token; None, and no check, where no key is needed. Raises Unauthorized."""
        if self.open:
            return None
        token = tokens.parse(text)
        try:
            key = await self._accounts.ask(lambda store: store.key(token.public_key))
        except NotFound:
            key = None
        if key is None or key.revoked:
            raise tokens.BadToken("the token's key is not known", hint="runnerd keys list shows those that are")
        tokens.verify(token, key.digest, time.time(), self._settings.token_valid)
        return key

    def require_key(self, client: Client) -> None:
        """Raise Unauthorized when a key is needed and none was given."""
        if client.key is None and not self.open:
            raise Unauthorized("a key is needed", hint="send Authorization: Bearer KEY, or an auth message first")

    def key_in(self, head: Head) -> str | None:
        """The key that a request carries; from its query only where that is configured. Raises Unauthorized for a
        scheme that is not known."""
        key = key_in(head)
        if key is None and self._settings.query_key:
            key = parse_qs(head.target.partition("?")[2]).get("api_key", [None])[-1]
        return key


def key_in(head: Head) -> str | None:
    """The key that a request's headers carry. Raises Unauthorized for a scheme that is not known."""
    authorization = head.get("authorization")
    if authorization is not None:
        scheme, _, key = authorization.partition(" ")
        if scheme.lower() != "bearer" or not key.strip():
            raise Unauthorized("Authorization is not a bearer key", hint="send Authorization: Bearer KEY")
        return key.strip()
    return head.get("x-api-key")


def check_settings(settings: Auth, listen: str, *, loopback: bool) -> None:
    """Raise ConfigError when others than this machine could run programs without a key, unless that is forced."""
    if settings.mode == "open" and not loopback and not settings.force_open:
        raise ConfigError(
            f'auth.mode is "open", and others can connect to {listen}',
            hint='keep to keys (auth.mode = "keys"), listen on loopback, or set auth.force_open = true',
        )
