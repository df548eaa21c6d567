"""The attack program, built once, and boxes to try it in."""

import os
import subprocess
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from runnerd.sandbox.box import open_box
from runnerd.sandbox.host import Host
from runnerd.sandbox.recipe import Recipe
from runnerd.sandbox.spec import BoxSpec, Launch, Limits
from tests.sandbox.running import ENV, finish

Attack = Callable[..., Awaitable[str]]
Unboxed = Callable[[str], str]


@pytest.fixture(scope="session")
def attacker(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The compiled attack.c, on a folder that boxes can be shown."""
    program = tmp_path_factory.mktemp("attack") / "attack"
    subprocess.run(
        ["gcc", "-O1", "-Wall", "-Wextra", "-Werror", "-o", program, Path(__file__).with_name("attack.c")], check=True
    )
    return program


@pytest.fixture
def attack(host: Host, attacker: Path) -> Attack:
    """Try one attack in a fresh box: the errno it met, "0" if none, or "killed SIGNAL"."""

    async def attack(name: str, spec: BoxSpec | None = None, recipe: Recipe | None = None, **more: Any) -> str:
        shown = host.spec(Limits(), binds=[(str(attacker), "/opt/attack")])
        spec = shown if spec is None else spec
        async with open_box(host, spec, recipe) as box:
            process = await box.start(Launch(("/opt/attack", name), ENV, **more))
            stdout, stderr = await finish(process)
            assert process.exit is not None, box.failure
            if process.exit.signal is not None:
                return f"killed {process.exit.signal}"
            assert process.exit.code == 0, stderr
            return told(stdout)

    return attack


@pytest.fixture
def unboxed(attacker: Path) -> Unboxed:
    """Try one attack outside of any box, as an ordinary user on a terminal: whether this kernel knows such a thing."""

    def unboxed(name: str) -> str:
        terminal, slave = os.openpty()
        try:
            command = (attacker, "--unprivileged", name)
            ran = subprocess.run(command, stdin=slave, capture_output=True, text=True, start_new_session=True)
        finally:
            os.close(terminal)
            os.close(slave)
        if ran.returncode < 0:
            return f"killed {-ran.returncode}"
        assert ran.returncode == 0, ran.stderr
        return told(ran.stdout)

    return unboxed


def told(output: str) -> str:
    """What the attack program printed: the errno, or "0"; with a word before it if it never came to the attack."""
    result, error = output.split()
    return f"preparing {error}" if result == "-2" else error


@pytest.fixture
def spec(host: Host, attacker: Path) -> BoxSpec:
    return host.spec(Limits(), binds=[(str(attacker), "/opt/attack")])
