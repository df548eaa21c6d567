"""Keys and their credits, as values. `runnerd.store.database` keeps them; import that late: it loads slowly."""

import msgspec


class Rules(msgspec.Struct, frozen=True):
    """What a key may do. None: as the configuration's `[quota.key]` says; a number of 0: without limit."""

    profiles: tuple[str, ...] | None = None
    languages: tuple[str, ...] | None = None
    runs_at_a_time: int | None = None
    runs_per_minute: int | None = None


class StoredKey(msgspec.Struct, frozen=True):
    """A key as the store knows it. `created` is seconds since the epoch, `digest` SHA-256 of the secret (32 bytes)."""

    public_key: str
    credits: int
    note: str
    created: float
    revoked: bool
    rules: Rules = Rules()
    digest: bytes = b""

    def __repr__(self) -> str:  # a log needs no digest
        return f"StoredKey({self.public_key!r})"


class NewKey(msgspec.Struct, frozen=True):
    """A key as it is made or rotated: the only time that its secret is known."""

    public_key: str
    secret_key: str
    credits: int


class Entry(msgspec.Struct, frozen=True):
    """One line of a key's ledger. `subject` is the run or space it was for, `time` seconds since the epoch."""

    id: int
    amount: int
    reason: str
    subject: str
    time: float


class Debit(msgspec.Struct, frozen=True):
    """Credits that were taken, and what remained. `id` names the ledger's entry."""

    id: int
    amount: int
    balance: int
