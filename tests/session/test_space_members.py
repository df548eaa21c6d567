"""Members come and go, keys are renewed and expire: a space against a model, by random steps. Its box is a fake."""

from dataclasses import dataclass, field

import pytest
import trio
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from runnerd.errors import Busy
from runnerd.session.members import Came, Changed, Left, Member, News

from .test_space import living

MOST, VALID = 4, 1000.0
NAMES = st.sampled_from(["ada", "bob", "ada 2"])

STEPS = st.one_of(
    st.tuples(st.just("join"), NAMES),
    st.tuples(st.just("join as host"), NAMES),
    st.tuples(st.just("leave"), st.integers(0, MOST - 1)),
    st.tuples(st.just("rejoin"), st.integers(0, MOST - 1)),
    st.tuples(st.just("change"), st.integers(0, MOST - 1)),
    st.tuples(st.just("take news"), st.integers(0, MOST - 1)),
    st.tuples(st.just("revoke"), st.none()),
)


@dataclass
class Model:
    """Who is in, by their names, and what each has yet to hear, as words."""

    news: dict[str, list[str]] = field(default_factory=dict[str, list[str]])
    hosts: set[str] = field(default_factory=set[str])

    def join(self, wanted: str, *, host: bool) -> str | None:
        """The name it goes by; None when it is full."""
        if len(self.news) == MOST:
            return None
        name = next(each for each in [wanted, *(f"{wanted} {n}" for n in range(2, 99))] if each not in self.news)
        self.tell(f"came {name}")
        self.news[name] = []
        if host:
            self.hosts.add(name)
        return name

    def leave(self, name: str) -> None:
        del self.news[name]
        self.hosts.discard(name)
        self.tell(f"left {name}")

    def tell(self, word: str, but: str = "") -> None:
        for name, heard in self.news.items():
            if name != but and (not heard or heard[-1] != word):
                heard.append(word)


def word(news: News) -> str:
    match news:
        case Came(who):
            return f"came {who.user}"
        case Left(who):
            return f"left {who.user}"
        case Changed(who, change, path):
            assert who is not None
            return f"{change} {path} {who.user}"
        case other:
            return repr(other)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(steps=st.lists(STEPS, max_size=40))
async def test_members_are_the_models(steps: list[tuple[str, object]]) -> None:
    model = Model()
    inside: list[Member] = []
    keys: list[str] = []
    async with living(members=MOST, join_valid=VALID, grace=1e9) as (space, _):
        keys.append(space.join_key.text)
        for kind, what in steps:
            match kind, what:
                case (("join" | "join as host"), str(name)):
                    came(space.join, model, inside, name, host=kind != "join")
                case (("leave" | "rejoin"), int(index)) if index < len(inside):
                    member = inside.pop(index)
                    space.leave(member)
                    model.leave(member.user)
                    if kind == "rejoin":
                        came(space.join, model, inside, member.user, host=member.host)
                case "change", int(index) if index < len(inside):
                    who = inside[index]
                    space.changed(who, "write", "x")
                    model.tell(f"write x {who.user}", but=who.user)
                case "take news", int(index) if index < len(inside):
                    await hears(inside[index], model)
                case "revoke", _:
                    keys.append(space.join_key.renew())
                case _:
                    await trio.lowlevel.checkpoint()
            assert [member.user for member in space.members] == list(model.news)
            assert {member.user for member in space.members if member.host} == model.hosts
            assert [space.opens(key) for key in keys] == [key == keys[-1] for key in keys]
        for member in inside:
            await hears(member, model)
        assert len(set(keys)) == len(keys)


def came(join: object, model: Model, inside: list[Member], name: str, *, host: bool) -> None:
    assert callable(join)
    expected = model.join(name, host=host)
    if expected is None:
        with pytest.raises(Busy):
            join(name, "#fff", host=host)
        return
    member = join(name, "#fff", host=host)
    assert isinstance(member, Member)
    assert (member.user, member.host) == (expected, host)
    inside.append(member)


async def hears(member: Member, model: Model) -> None:
    expected = model.news[member.user]
    if expected:
        assert [word(news) for news in await member.news()] == expected
        expected.clear()
