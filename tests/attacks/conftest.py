"""The attack program, built once, and boxes to try it in."""

import subprocess
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from runnerd.sandbox.box import open_box
from runnerd.sandbox.host import Host
from runnerd.sandbox.spec import BoxSpec, Launch, Limits
from tests.sandbox.running import ENV, finish

Attack = Callable[..., Awaitable[str]]


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
    """Try one attack in a fresh box: what it printed, or "killed SIGNAL"."""

    async def attack(name: str, spec: BoxSpec | None = None, args: list[str] | None = None, **more: Any) -> str:
        shown = host.spec(Limits(), binds=[(str(attacker), "/opt/attack")])
        spec = shown if spec is None else spec
        async with open_box(host, spec, args) as box:
            process = await box.start(Launch(("/opt/attack", name), ENV, **more))
            stdout, stderr = await finish(process)
            assert process.exit is not None, box.failure
            if process.exit.signal is not None:
                return f"killed {process.exit.signal}"
            assert process.exit.code == 0, stderr
            return stdout.split()[1]

    return attack


@pytest.fixture
def spec(host: Host, attacker: Path) -> BoxSpec:
    return host.spec(Limits(), binds=[(str(attacker), "/opt/attack")])
