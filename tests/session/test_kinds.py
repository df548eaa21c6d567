"""Which runs share boxes, and which programs can be started ahead of them."""

import pytest

from runnerd import toolchains
from runnerd.sandbox.spec import BoxSpec, Limits
from runnerd.session.kinds import further, kind_for, launches
from runnerd.session.run import Run, environment

LANGUAGES = toolchains.load()
PYTHON, NODE, BASH = LANGUAGES.get("python"), LANGUAGES.get("javascript"), LANGUAGES.get("bash")
SPEC = BoxSpec()
HELLO = {"": b"print('hello')"}


def steps(run: Run) -> list[str]:
    return [step for step, _ in launches(LANGUAGES.get(run.language), run, "/work")]


@pytest.mark.parametrize(
    "run",
    [
        Run("python", HELLO),
        Run("python", {"main.py": b""}),
        Run("python", {"main.py": b"", "other.py": b""}),
        Run("python", HELLO, args=("a", "")),
        Run("python", HELLO, env={"NAME": "value", "TERM": "xterm"}),
        Run("javascript", HELLO, mode="pipes"),
    ],
)
def test_an_ordinary_run_finds_its_program_waiting(run: Run) -> None:
    assert steps(run) == ["program"]


def test_java_finds_its_compiler_too_which_makes_the_folder_that_the_program_looks_for() -> None:
    run = Run("java", HELLO, args=("a",))
    (_, compiler), (_, program) = launches(LANGUAGES.get("java"), run, "/work")
    plan = LANGUAGES.get("java").plan(run.files, None, run.args, run.mode)
    assert plan.compile is not None
    assert further(plan.compile, compiler.argv) == plan.compile[1:]
    assert further(plan.run, program.argv) == ("a",)
    assert compiler.argv[-1] in plan.compile
    assert compiler.argv[-1] in program.argv


@pytest.mark.parametrize(
    "run",
    [
        pytest.param(Run("python", {"hello.py": b""}), id="a file of another name"),
        pytest.param(Run("python", {"main.py": b"", "x.py": b""}, main="x.py"), id="another of the files"),
        pytest.param(Run("python", {}), id="no file at all"),
        pytest.param(Run("python", HELLO, env={"PYTHONHASHSEED": "0"}), id="read before it waits"),
        pytest.param(Run("python", HELLO, env={"LD_PRELOAD": "x.so"}), id="read by the linker"),
        pytest.param(Run("javascript", HELLO, env={"NODE_OPTIONS": "--stack-size=9"}), id="node's own"),
        pytest.param(Run("java", HELLO, env={"JAVA_TOOL_OPTIONS": "-Xint"}), id="the JVM's own"),
        pytest.param(Run("python", HELLO, args=("x" * 200_000,)), id="more than can be told"),
        pytest.param(Run("bash", HELLO), id="a language without"),
    ],
)
def test_these_need_a_fresh_start(run: Run) -> None:
    assert steps(run) == []


@pytest.mark.parametrize("mode", ["terminal", "split", "pipes"])
@pytest.mark.parametrize("toolchain", [PYTHON, NODE])
def test_it_starts_as_the_run_would_but_for_what_makes_it_wait(toolchain: toolchains.Toolchain, mode: str) -> None:
    run = Run(toolchain.id, HELLO, mode=mode)  # type: ignore[arg-type]
    ((_, launch),) = launches(toolchain, run, "/work")
    plan = toolchain.plan(run.files, None, (), mode)
    # Node looks at its folder before it waits, and must find nothing there that it would remember.
    node = (("/opt/node/bin/node", "/work/main.js"), "/opt")
    assert (launch.argv, launch.cwd) == (node if toolchain is NODE else (plan.run, "/work"))
    added = set(toolchain.zygotes["program"].env)
    fresh = environment(run, plan.env, "/work")
    assert {name: text for name, text in launch.env.items() if name not in added} == {
        name: text for name, text in fresh.items() if name not in added
    }
    for name in added & set(fresh):
        assert launch.env[name].endswith(fresh[name])
    assert all(text == text.strip(" :") for text in launch.env.values())


def test_runs_that_nobody_could_tell_apart_share_their_boxes() -> None:
    kind = kind_for(PYTHON, SPEC, "default", Run("python", HELLO))
    assert kind == kind_for(PYTHON, SPEC, "execute", Run("python", {"main.py": b"x"}, args=("a",), env={"A": "b"}))
    assert kind.programs == ("/usr/bin/python3",)
    others = [
        kind_for(PYTHON, SPEC, "default", Run("python", HELLO, mode="split")),
        kind_for(PYTHON, SPEC, "default", Run("python", {"hello.py": b""})),
        kind_for(PYTHON, BoxSpec(Limits(memory=2**28 + 1)), "default", Run("python", HELLO)),
        kind_for(NODE, SPEC, "default", Run("javascript", HELLO)),
        kind_for(BASH, SPEC, "default", Run("bash", HELLO)),
        kind_for(None, SPEC, "default", Run(argv=("sh",))),
    ]
    assert len({kind, *others}) == 7


def test_without_a_program_that_waits_all_modes_share_their_boxes() -> None:
    modes = [kind_for(BASH, SPEC, "default", Run("bash", HELLO, mode=mode)) for mode in ("terminal", "split", "pipes")]
    assert len(set(modes)) == 1


def test_what_a_waiting_program_is_told() -> None:
    assert further(("python3", "main.py", "a", "b"), ("python3", "main.py")) == ("a", "b")
    assert further(("javac", "-d", "x", "Main.java"), ("java", "Compiler")) == ("-d", "x", "Main.java")
