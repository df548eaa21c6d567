"""The one way to a run, whatever protocol asked for it: may this client start it, and who pays?"""

import logging
from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING, Literal

import trio

from runnerd import filters
from runnerd.config import Config, Profile
from runnerd.errors import Forbidden, RunnerdError, UnknownLanguage
from runnerd.protocols import spaces
from runnerd.sandbox.spec import Outcome
from runnerd.server.accounts import Accounts
from runnerd.server.auth import Client, Doorkeeper
from runnerd.server.forwarded import subnet
from runnerd.server.quota import Quota
from runnerd.session.kernel import Kernels
from runnerd.session.run import Run
from runnerd.session.session import Stay
from runnerd.store import Debit, Rules
from runnerd.toolchains import Toolchains

if TYPE_CHECKING:
    from runnerd.session.registry import Registry
    from runnerd.session.session import Session
    from runnerd.session.space import Space

log = logging.getLogger("runnerd.server.admission")


class Admission:
    """Before `registry`: keys, quotas and prices. Runs are seen to their ends by tasks of `nursery`."""

    def __init__(
        self,
        registry: "Registry",
        toolchains: Toolchains,
        doorkeeper: Doorkeeper,
        accounts: Accounts,
        config: Config,
        nursery: trio.Nursery,
        clock: Callable[[], float] = trio.current_time,
    ) -> None:
        self._registry, self._toolchains, self._doorkeeper = registry, toolchains, doorkeeper
        self._accounts, self._nursery = accounts, nursery
        self._quota = Quota(clock)
        self._filters = filters.load()
        self.adopt(config)

    def adopt(self, config: Config) -> None:
        """Admit by these settings from now on."""
        self._limits, self._prices, self._filtering = config.quota, config.prices, config.filter

    def profile(self, name: str) -> Profile:
        """Raises NotFound."""
        return self._registry.profile(name)

    def find(self, session_id: str) -> "Session":
        """A session that runs or ended a short while ago; its id is all that is asked for. Raises NotFound."""
        return self._registry.find(session_id)

    async def start(
        self,
        client: Client,
        run: Run,
        *,
        profile: str = "default",
        stay: Stay | None = None,
        kernels: Kernels | None = None,
    ) -> "Session":
        """Admit a run and start it, as Registry.start does. It counts until its session is over, and ends when its key
        is revoked.

        Raises Unauthorized, Filtered, Forbidden (a profile or language that the key may not use), OverQuota,
        OutOfCredits, and what Registry.start raises. What it cost is given back when its program could not be started.
        """
        self._doorkeeper.require_key(client)
        self._refuse(client, run, profile)
        if self._filtering:
            self._filter(run)
        name, at_a_time, per_minute = self._allowance(client)
        self._quota.take(name, at_a_time, per_minute)
        debit: Debit | None = None
        try:
            session_id = self._registry.new_id()
            debit = await self.charge(client, "run", session_id, profile)
            session = await self._registry.start(
                run, profile=profile, session_id=session_id, stay=stay, kernels=kernels, owner=_owner(client)
            )
        except BaseException:
            self._quota.give_back(name)
            await self.give_back(debit)
            raise
        self._nursery.start_soon(self._see_out, client, session, name, debit)
        return session

    async def open_space(self, client: Client) -> "tuple[Space, int | None]":
        """Admit a space and have it made: (it, the credits that its key has left, None without a key). It counts as a
        run until it is over, and ends when its key is revoked. Raises as `start`, and SpaceEnded."""
        self._doorkeeper.require_key(client)
        self._refuse(client, Run(argv=("bash",)), spaces.PROFILE)
        name, at_a_time, per_minute = self._allowance(client)
        self._quota.take(name, at_a_time, per_minute)
        debit: Debit | None = None
        try:
            space_id = self._registry.new_id()
            debit = await self.charge(client, "space", space_id)
            owner = client.key.public_key if client.key is not None else None
            space = await self._registry.open_space(space_id, profile=spaces.PROFILE, owner=owner)
        except BaseException:
            self._quota.give_back(name)
            await self.give_back(debit)
            raise
        self._nursery.start_soon(self._until_over, client, space, name)
        if debit is not None:
            return space, debit.balance
        return space, client.key.credits if client.key is not None else None

    def find_space(self, join: str) -> "Space":
        """The space that a join key opens, which is all that is asked for. Raises NotFound."""
        return self._registry.find_space(join)

    async def charge(
        self, client: Client, what: Literal["run", "space"], subject: str = "", profile: str = ""
    ) -> Debit | None:
        """Take the price from the client's key; None when it is 0 or there is no key. `subject` is an id for the
        ledger, `profile` a run's. Raises OutOfCredits."""
        key, price = client.key, self._prices.of_run(profile) if what == "run" else self._prices.space
        if key is None or not price:
            return None
        return await self._accounts.ask(lambda store: store.debit(key.public_key, price, what, subject))

    async def give_back(self, debit: Debit | None) -> None:
        """Give back what was taken for something that did not come about, also when cancelled. Raises nothing."""
        if debit is None:
            return
        try:
            with trio.CancelScope(shield=True):
                await self._accounts.ask(lambda store: store.refund(debit.id))
        except RunnerdError as problem:
            log.error("credits could not be given back", extra={"debit": debit.id, "problem": problem.message})

    async def _until_over(self, client: Client, started: "Session | Space", name: object) -> None:
        try:
            if client.key is None:
                await started.over.wait()
            else:
                with self._doorkeeper.revocations.watch(client.key, lambda: started.kill("the key was revoked")):
                    await started.over.wait()
        finally:
            self._quota.give_back(name)

    async def _see_out(self, client: Client, session: "Session", name: object, debit: Debit | None) -> None:
        await self._until_over(client, session, name)
        if session.started is None and session.ended is not None and session.ended.outcome is Outcome.FAILED:
            await self.give_back(debit)

    def _refuse(self, client: Client, run: Run, profile: str) -> None:
        if client.key is None:
            return
        rules, defaults = client.key.rules, self._limits.key
        profiles = defaults.profiles if rules.profiles is None else rules.profiles
        if profiles and profile not in profiles:
            raise Forbidden(f"this key may not use the profile {profile}", hint=f"it may use {', '.join(profiles)}")
        languages = defaults.languages if rules.languages is None else rules.languages
        if languages and not self._languages_of(run) & set(languages):
            raise Forbidden(
                f"this key may not run {run.language or 'commands'}", hint=f"it may run {', '.join(languages)}"
            )

    def _filter(self, run: Run) -> None:
        language = ""
        if run.argv is None:
            with suppress(UnknownLanguage):  # the registry tells
                language = self._toolchains.get(run.language).id
        filters.check(self._filters, language, [*run.files.values(), " ".join(run.argv or ()).encode()])

    def _languages_of(self, run: Run) -> set[str]:
        """All names of what runs. A command line of the client's own could be any language, and so is none."""
        if run.argv is not None:
            return set()
        toolchain = self._toolchains.get(run.language)
        return {toolchain.id, *toolchain.aliases}

    def _allowance(self, client: Client) -> tuple[object, int, int]:
        """By what name a client counts, how many runs it may have at a time, and start per minute; 0 is no limit."""
        if client.key is None:
            limits = self._limits.address
            return ("address", subnet(client.address)), limits.runs_at_a_time, limits.runs_per_minute
        rules: Rules = client.key.rules
        defaults = self._limits.key
        at_a_time = defaults.runs_at_a_time if rules.runs_at_a_time is None else rules.runs_at_a_time
        per_minute = defaults.runs_per_minute if rules.runs_per_minute is None else rules.runs_per_minute
        return ("key", client.key.public_key), at_a_time, per_minute


def _owner(client: Client) -> str | None:
    """For whom it is kept what compilers make: the key. Who gives none could be anybody."""
    return f"key {client.key.public_key}" if client.key is not None else None
