"""Keys and their credits, as values. `runnerd.store.database` keeps them; import that late: it loads slowly."""

from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Rules:
    """What a key may do. None: as the configuration's `[quota.key]` says; a number of 0: without limit."""

    profiles: tuple[str, ...] | None = None
    languages: tuple[str, ...] | None = None
    runs_at_a_time: int | None = None
    runs_per_minute: int | None = None


@dataclass(frozen=True, slots=True)
class StoredKey:
    """A key as the store knows it. `created` is seconds since the epoch, `digest` SHA-256 of the secret (32 bytes)."""

    public_key: str
    credits: int
    note: str
    created: float
    revoked: bool
    rules: Rules = Rules()
    digest: bytes = field(default=b"", repr=False)


@dataclass(frozen=True, slots=True)
class NewKey:
    """A key as it is made or rotated: the only time that its secret is known."""

    public_key: str
    secret_key: str
    credits: int


@dataclass(frozen=True, slots=True)
class Entry:
    """One line of a key's ledger. `subject` is the run or space it was for, `time` seconds since the epoch."""

    id: int
    amount: int
    reason: str
    subject: str
    time: float


@dataclass(frozen=True, slots=True)
class Debit:
    """Credits that were taken, and what remained. `id` names the ledger's entry."""

    id: int
    amount: int
    balance: int
