"""What the gateway filter refuses is contained without it: the filter is a courtesy, boxes are the barrier."""

import shlex

import pytest
import trio

from runnerd import filters, toolchains
from runnerd.filters import Rule
from runnerd.sandbox.box import open_box
from runnerd.sandbox.host import Host
from runnerd.sandbox.spec import Launch, Limits
from tests.sandbox.running import ENV, run

pytestmark = pytest.mark.attack

RULES = filters.load()
REFUSED = ("Read-only file system", "No such file", "Permission denied", "Operation not permitted", "cannot open")
REFUSED += ("not permitted", "not found", "Couldn't connect", "Could not connect", "must be superuser", "nonexistent")
BOMBS = ("fork-bomb", "fork-loop")
TASKS, GRACE = 32, 16


def command(rule: Rule) -> tuple[str, dict[str, bytes]]:
    """How a shell compiles and runs the example, and its files."""
    toolchain = toolchains.load().get(rule.languages[0] if rule.languages else "bash")
    plan = toolchain.plan({"": rule.example.encode()}, None, (), "pipes")
    steps = [plan.compile, plan.run] if plan.compile is not None else [plan.run]
    return " && ".join(map(shlex.join, steps)), plan.files


@pytest.mark.parametrize("rule", [rule for rule in RULES if rule.name not in BOMBS], ids=lambda rule: rule.name)
async def test_each_is_contained_without_the_filter(host: Host, rule: Rule) -> None:
    line, files = command(rule)
    ran = await run(host, "sh", "-c", line, files=files)
    assert any(words in ran.stderr for words in REFUSED), (ran.stdout, ran.stderr)


@pytest.mark.parametrize("rule", [rule for rule in RULES if rule.name in BOMBS], ids=lambda rule: str(rule.languages))
async def test_bombs_stay_within_their_box_without_the_filter(host: Host, rule: Rule) -> None:
    """They fill it, and no more; test_resources.py has what becomes of them."""
    line, files = command(rule)
    most = 0
    with trio.fail_after(30):
        async with open_box(host, host.spec(Limits(processes=TASKS, cpu=0))) as box:
            await box.start(Launch(("sh", "-c", line), ENV, "pipes"), files)
            while most < TASKS // 2:
                most = max(most, box.used().tasks)
                await trio.sleep(0.01)
            assert most <= TASKS + GRACE
