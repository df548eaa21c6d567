"""What a run may ask for, and what it is granted."""

from typing import Any

import pytest
from msgspec.structs import replace

from runnerd import toolchains
from runnerd.config import Profile
from runnerd.errors import BadRequest
from runnerd.sandbox.spec import MiB, Window
from runnerd.session.run import Run, check, environment, grant

PROFILE = Profile(memory=256 * MiB, processes=50, cpus=1.5, cpu=10, wall=60, idle=0, output=1000_000, files=300)


def test_without_wishes_the_profile_holds() -> None:
    limits = grant(PROFILE, {}, None)
    assert (limits.memory, limits.processes, limits.cpus, limits.cpu) == (256 * MiB, 50, 1.5, 10)
    assert (limits.wall, limits.idle, limits.output, limits.files) == (60, 0, 1000_000, 300)


def test_only_lower_wishes_are_granted_and_anything_is_lower_than_no_limit() -> None:
    wishes = {"memory": 1e12, "processes": 10.7, "cpus": 0.5, "wall": 3600, "cpu": 2, "idle": 7, "output": 0.5}
    limits = grant(PROFILE, wishes, None)
    assert (limits.memory, limits.processes, limits.cpus) == (256 * MiB, 10, 0.5)
    assert (limits.wall, limits.cpu, limits.idle, limits.output) == (60, 2, 7, 1)
    assert isinstance(limits.processes, int)


@pytest.mark.parametrize("wish", [0, -1, float("inf"), float("nan")])
def test_a_wish_must_be_a_positive_number(wish: float) -> None:
    with pytest.raises(BadRequest, match=r"limits\.wall"):
        grant(PROFILE, {"wall": wish}, None)


@pytest.mark.parametrize("name", ["speed", "__class__", ""])
def test_a_wish_must_name_a_limit(name: str) -> None:
    with pytest.raises(BadRequest) as caught:
        grant(PROFILE, {name: 1}, None)
    assert "memory" in caught.value.hint


def test_a_toolchain_gets_what_it_cannot_live_without() -> None:
    java = replace(toolchains.load().get("java"), raises={"memory": 512 * MiB, "processes": 40, "idle": 5})
    limits = grant(PROFILE, {"memory": 10 * MiB, "processes": 45}, java)
    assert (limits.memory, limits.processes) == (512 * MiB, 45)
    assert limits.idle == 0, "no limit is enough"


@pytest.mark.parametrize(
    "run",
    [
        Run(env={"": "x"}),
        Run(env={"A=B": "x"}),
        Run(env={"A": "x\0y"}),
        Run(env={"A\0": "x"}),
        Run(args=("a\0b",)),
        Run(argv=("a", "\0")),
        Run(argv=()),
        Run(argv=("",)),
        Run(window=Window(0, 80)),
        Run(window=Window(24, 65536)),
    ],
)
def test_what_no_box_could_start_is_refused(run: Run) -> None:
    with pytest.raises(BadRequest):
        check(run)


def test_everything_else_is_let_through() -> None:
    check(Run("python", {"a": b""}, env={"A": "=é"}, args=("", "é"), argv=("/bin/true", ""), window=Window(1, 65535)))


@pytest.mark.parametrize(("mode", "term"), [("terminal", "xterm-256color"), ("split", "dumb"), ("pipes", "dumb")])
def test_the_environment_is_the_boxs_then_the_toolchains_then_the_clients(mode: Any, term: str) -> None:
    env = environment(Run(mode=mode, env={"B": "client", "PATH": "/x"}), {"A": "own", "B": "own"}, "/tmp/work")
    assert env == {
        "PATH": "/x",
        "HOME": "/tmp/work",
        "USER": "runner",
        "LOGNAME": "runner",
        "LANG": "C.UTF-8",
        "TERM": term,
        "A": "own",
        "B": "client",
    }
