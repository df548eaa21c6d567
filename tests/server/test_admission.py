"""Keys, quotas and prices before a registry without boxes."""

import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
import trio
import trio.testing
from server_fakes import FakeRegistry, FakeSession, FakeStore, accounts_of
from trio.testing import MockClock

from runnerd import toolchains
from runnerd.config import Config, parse
from runnerd.errors import Busy, Forbidden, OutOfCredits, OverQuota, SetupError, Unauthorized, UnknownLanguage
from runnerd.filters import Filtered
from runnerd.sandbox.spec import Outcome
from runnerd.server.admission import Admission
from runnerd.server.auth import Client, Doorkeeper
from runnerd.server.revocations import INTERVAL
from runnerd.session.run import Run
from runnerd.store import Rules
from runnerd.toolchains import Toolchains

RUN = Run("echo")


class Gate:
    """What a test holds: the admission, its registry and its store."""

    def __init__(self, config: Config, store: FakeStore, nursery: trio.Nursery, languages: Toolchains) -> None:
        self.store = store
        self.registry: Any = FakeRegistry(None, None, config, nursery)
        accounts = accounts_of(store)
        self.keeper = Doorkeeper(accounts, config.auth)
        nursery.start_soon(self.keeper.revocations.run)
        self.admission = Admission(self.registry, languages, self.keeper, accounts, config, nursery)
        self.client = Client(store.verify("right"), "192.0.2.1")

    async def start(self, client: Client | None = None, run: Run = RUN, profile: str = "default") -> FakeSession:
        session: Any = await self.admission.start(client or self.client, run, profile=profile)
        return session

    async def end(self, session: FakeSession, outcome: Outcome = Outcome.EXITED) -> None:
        session.end(outcome)
        await trio.testing.wait_all_tasks_blocked(0.01)


@asynccontextmanager
async def admitting(
    settings: dict[str, Any] | None = None,
    *,
    store: FakeStore | None = None,
    languages: Toolchains | None = None,
) -> AsyncIterator[Gate]:
    async with trio.open_nursery() as nursery:
        yield Gate(parse(settings or {}), store or FakeStore(), nursery, languages or Toolchains({}, {}))
        nursery.cancel_scope.cancel()


def stranger(address: str) -> Client:
    return Client(None, address)


async def test_without_a_key_nothing_starts_where_one_is_needed() -> None:
    async with admitting() as gate:
        with pytest.raises(Unauthorized):
            await gate.start(stranger("192.0.2.1"))
        assert gate.registry.asked == 0
        await gate.start()
    async with admitting({"auth": {"mode": "open"}}) as gate:
        await gate.start(stranger("192.0.2.1"))


async def test_what_is_compiled_belongs_to_the_key_and_without_one_to_nobody() -> None:
    async with admitting({"auth": {"mode": "open"}}) as gate:
        await gate.start()
        await gate.start(stranger("192.0.2.1"))
        key = gate.client.key
        assert key is not None
        assert gate.registry.owners == [f"key {key.public_key}", None]


async def test_quotas_are_off_until_configured() -> None:
    async with admitting({"auth": {"mode": "open"}}) as gate:
        for _ in range(100):
            await gate.start()
            await gate.start(stranger("192.0.2.1"))
        assert gate.store.debits == []


async def test_a_run_counts_until_its_end() -> None:
    async with admitting({"quota": {"key": {"runs_at_a_time": 1}}}) as gate:
        first = await gate.start()
        with pytest.raises(OverQuota):
            await gate.start()
        await gate.end(first)
        await gate.start()


@pytest.mark.parametrize("failure", [Busy("full", retry_after=1), UnknownLanguage("no such"), ZeroDivisionError()])
async def test_a_refused_start_counts_no_longer(failure: Exception) -> None:
    async with admitting({"quota": {"key": {"runs_at_a_time": 1}}, "prices": {"run": 2}}) as gate:
        gate.registry.failure = failure
        with pytest.raises(type(failure)):
            await gate.start()
        gate.registry.failure = None
        assert (gate.store.credits, gate.store.refunded) == (10, [1])
        await gate.start()


async def test_a_start_that_is_cancelled_in_the_queue_counts_no_longer() -> None:
    async with admitting({"quota": {"key": {"runs_at_a_time": 1}}, "prices": {"run": 2}}) as gate:
        gate.registry.may_start = trio.Event()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(gate.start)
            while not gate.registry.asked:
                await trio.sleep(0.001)
            assert gate.store.credits == 8
            nursery.cancel_scope.cancel()
        assert (gate.store.credits, gate.store.refunded) == (10, [1])
        gate.registry.may_start.set()
        await gate.start()


async def test_a_key_has_its_own_rules_or_those_of_the_configuration() -> None:
    settings = {"quota": {"key": {"runs_at_a_time": 1, "runs_per_minute": 1}}}
    async with admitting(settings, store=FakeStore(rules=Rules(runs_at_a_time=2, runs_per_minute=3))) as gate:
        first = await gate.start()
        await gate.start()
        with pytest.raises(OverQuota, match="2 of at most 2"):
            await gate.start()
        await gate.end(first)
        await gate.end(await gate.start())
        with pytest.raises(OverQuota, match="at most 3 runs may start"):
            await gate.start()
    async with admitting(settings, store=FakeStore(rules=Rules(runs_at_a_time=0, runs_per_minute=0))) as gate:
        for _ in range(10):
            await gate.start()


async def test_addresses_count_by_themselves_and_by_subnet(autojump_clock: MockClock) -> None:
    limits = {"runs_at_a_time": 1, "runs_per_minute": 2}
    async with admitting({"auth": {"mode": "open"}, "quota": {"address": limits}}) as gate:
        one = await gate.start(stranger("2001:db8::1"))
        with pytest.raises(OverQuota):
            await gate.start(stranger("2001:db8::ffff:2"))
        await gate.start(stranger("2001:db8:0:1::1"))
        await gate.start(stranger("192.0.2.1"))
        await gate.start(stranger("192.0.2.2"))
        await gate.start()  # a key has its own count
        await gate.end(one)
        await gate.end(await gate.start(stranger("2001:db8::3")))
        with pytest.raises(OverQuota) as refused:
            await gate.start(stranger("2001:db8::1"))
        await trio.sleep(refused.value.retry_after)
        await gate.start(stranger("2001:db8::1"))


# --- profiles and languages ----------------------------------------------------------------------------------------


async def test_profiles_that_a_key_may_use() -> None:
    async with admitting(store=FakeStore(rules=Rules(profiles=("widget",)))) as gate:
        await gate.start(profile="widget")
        with pytest.raises(Forbidden, match="may not use the profile default") as refused:
            await gate.start()
        assert "widget" in refused.value.hint
    async with admitting({"quota": {"key": {"profiles": ["default"]}}}) as gate:
        await gate.start()
        with pytest.raises(Forbidden):
            await gate.start(profile="widget")


@pytest.mark.parametrize("allowed", ["python", "py"])
async def test_languages_that_a_key_may_use_under_any_name(allowed: str) -> None:
    store = FakeStore(rules=Rules(languages=(allowed,)))
    async with admitting(store=store, languages=toolchains.load()) as gate:
        for name in ("python", "py"):
            with pytest.raises(UnknownLanguage, match="unknown language"):  # past admission, to the fake registry
                await gate.start(run=Run(name))
        for run in (Run("bash"), Run("", argv=("python3",)), Run("python", argv=("sh",))):
            with pytest.raises(Forbidden, match="this key may not run"):
                await gate.start(run=run)
        with pytest.raises(UnknownLanguage):
            await gate.start(run=Run("klingon"))


# --- the gateway filter --------------------------------------------------------------------------------------------

BOMB = Run("echo", files={"": b":(){ :|:& };:"})


async def test_harmful_code_is_refused_before_anything_is_used() -> None:
    settings = {"quota": {"key": {"runs_at_a_time": 1, "runs_per_minute": 1}}, "prices": {"run": 4}}
    async with admitting(settings) as gate:
        for _ in range(3):
            with pytest.raises(Filtered, match="the rule fork-bomb refuses it"):
                await gate.start(run=BOMB)
        assert (gate.registry.asked, gate.store.debits) == (0, [])
        await gate.start()


async def test_who_may_not_run_it_is_not_told_of_rules() -> None:
    async with admitting(store=FakeStore(rules=Rules(profiles=("widget",)))) as gate:
        with pytest.raises(Unauthorized):
            await gate.start(stranger("192.0.2.1"), BOMB)
        with pytest.raises(Forbidden):
            await gate.start(run=BOMB)


async def test_the_filter_is_switched_by_configuration_also_while_it_runs() -> None:
    async with admitting({"filter": False}) as gate:
        await gate.start(run=BOMB)
        gate.admission.adopt(parse({"filter": True}))
        with pytest.raises(Filtered):
            await gate.start(run=BOMB)
        gate.admission.adopt(parse({"filter": False}))
        await gate.start(run=BOMB)


@pytest.mark.parametrize(
    "run",
    [
        Run("echo", files={"a": b"", "b": b"x = 1", "c": b"echo b > /proc/sysrq-trigger"}),
        Run("klingon", files={"": b":(){ :|:& };:"}),
        Run(argv=("sh", "-c", ":(){ :|:& };:")),
        Run(argv=("nsenter", "-m", "--target", "1", "sh")),
        Run("py", files={"": b"import os\nwhile True: os.fork()"}),
        Run("python", files={"": b"", "help.py": b"import os\nwhile 1: os.fork()"}),
    ],
    ids=["any file", "unknown language", "command", "words of a command", "alias", "second file"],
)
async def test_all_code_of_a_run_is_looked_at(run: Run) -> None:
    async with admitting(languages=toolchains.load()) as gate:
        with pytest.raises(Filtered):
            await gate.start(run=run)


async def test_rules_are_those_of_the_language() -> None:
    async with admitting(languages=toolchains.load()) as gate:
        with pytest.raises(UnknownLanguage):  # past admission, to the fake registry
            await gate.start(run=Run("bash", files={"": b"while True: os.fork()"}))


# --- prices --------------------------------------------------------------------------------------------------------


async def test_a_run_costs_what_is_configured() -> None:
    async with admitting({"auth": {"mode": "open"}, "prices": {"run": 4}}) as gate:
        await gate.end(await gate.start())
        await gate.end(await gate.start(), Outcome.MEMORY)
        assert (gate.store.credits, gate.store.refunded) == (2, [])
        assert gate.store.debits == [(4, "run", "n1-fake0"), (4, "run", "n1-fake1")]
        with pytest.raises(OutOfCredits):
            await gate.start()
        assert len(gate.registry.started) == 2
        await gate.start(stranger("192.0.2.1"))  # who has no key pays nothing


async def test_each_protocol_has_its_price_by_its_profile() -> None:
    prices = {"run": 1, "profiles": {"execute": 3, "widget": 0}}
    async with admitting({"prices": prices}) as gate:
        for profile, price in (("execute", 3), ("widget", 0), ("session", 1), ("default", 1)):
            before = gate.store.credits
            await gate.start(profile=profile)
            assert before - gate.store.credits == price, profile
        gate.admission.adopt(parse({"prices": {"profiles": {"widget": 6}}}))
        with pytest.raises(OutOfCredits):
            await gate.start(profile="widget")
        await gate.start(profile="execute")
        assert gate.store.credits == 5


async def test_by_default_only_a_space_costs() -> None:
    async with admitting() as gate:
        for profile in parse({}).profiles:
            await gate.start(profile=profile)
        assert gate.store.debits == []


async def test_a_space_costs_one_credit() -> None:
    async with admitting() as gate:
        debit = await gate.admission.charge(gate.client, "space", "n1-space")
        assert gate.store.debits == [(1, "space", "n1-space")]
        await gate.admission.give_back(debit)
        assert gate.store.credits == 10
        assert await gate.admission.charge(stranger("192.0.2.1"), "space") is None


@pytest.mark.parametrize(
    ("box_starts", "outcome", "left"), [(False, "failed", 10), (True, "failed", 6), (False, "killed", 6)]
)
async def test_credits_come_back_when_the_box_could_not_start(box_starts: bool, outcome: str, left: int) -> None:
    async with admitting({"prices": {"run": 4}}) as gate:
        gate.registry.box_starts = box_starts
        session = await gate.start()
        session.end(Outcome(outcome))
        with trio.move_on_after(0.2):
            while gate.store.credits == 6:
                await trio.sleep(0.001)
        assert gate.store.credits == left


async def test_credits_that_cannot_be_given_back_are_logged(caplog: pytest.LogCaptureFixture, monkeypatch: Any) -> None:
    class Broken(FakeStore):
        def refund(self, debit: int) -> bool:
            raise SetupError("no room")

    monkeypatch.setattr(logging.getLogger("runnerd"), "propagate", True)
    async with admitting({"prices": {"run": 4}}, store=Broken()) as gate:
        gate.registry.failure = Busy("full", retry_after=1)
        with pytest.raises(Busy):
            await gate.start()
        (entry,) = caplog.records
        assert (entry.message, entry.debit) == ("credits could not be given back", 1)  # type: ignore[attr-defined]


# --- revocation ----------------------------------------------------------------------------------------------------


async def test_a_run_of_a_revoked_key_ends(autojump_clock: MockClock) -> None:
    async with admitting({"auth": {"mode": "open"}}, store=FakeStore("right", "other")) as gate:
        mine, others = await gate.start(), await gate.start(Client(gate.store.verify("other"), "192.0.2.1"))
        strangers = await gate.start(stranger("192.0.2.1"))
        gate.store.revoked.add("right")
        with trio.fail_after(2 * INTERVAL):
            await mine.over.wait()
        assert mine.killed.is_set()
        await trio.sleep(10 * INTERVAL)
        assert not others.killed.is_set()
        assert not strangers.killed.is_set()


async def test_a_store_that_fails_for_a_while_ends_nothing(autojump_clock: MockClock) -> None:
    class Flaky(FakeStore):
        broken = True

        def valid(self, digests: set[bytes]) -> set[bytes]:
            self.looks += 1
            if self.broken:
                raise SetupError("the server is gone")
            return super().valid(digests)

    store = Flaky()
    async with admitting(store=store) as gate:
        session = await gate.start()
        await trio.sleep(10 * INTERVAL)
        assert store.looks > 5
        assert not session.killed.is_set()
        store.revoked.add("right")
        store.broken = False
        with trio.fail_after(2 * INTERVAL):
            await session.over.wait()
