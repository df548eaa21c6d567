"""Rules of the gateway filter: each refuses its example, none refuses an ordinary program."""

import pytest

from runnerd import filters, toolchains
from runnerd.filters import LOOKED_AT, Filtered, Rule

RULES = filters.load()

ORDINARY = [
    "f() { echo hi | cat & }; f",
    "import os\npid = os.fork()\nif pid == 0:\n    print('child')\nelse:\n    os.wait()",
    "while True:\n    line = input()\n    if not line: break",
    "#include <unistd.h>\nint main(void) { for (int i = 0; i < 3; i++) if (fork() == 0) return 0; for (;;) pause(); }",
    "cat /proc/self/cgroup; ls /sys/fs/cgroup",
    "cat /proc/1/status; cat /proc/cpuinfo",
    "ls -l /dev/sda 2>/dev/null; dd if=/dev/zero of=/tmp/file bs=1k count=4; echo x > /dev/null",
    "const f = () => { return a | b & c }; f()",
    "# docker.sock, sysrq and core_pattern are words",
]


@pytest.mark.parametrize("rule", RULES, ids=[rule.name for rule in RULES])
def test_each_rule_refuses_its_example_and_says_so(rule: Rule) -> None:
    language = rule.languages[0] if rule.languages else "bash"
    with pytest.raises(Filtered, match=f"the rule {rule.name} refuses it"):
        filters.check(RULES, language, [b"", b"# a comment\n" + rule.example.encode()])


def test_a_rule_for_some_languages_leaves_the_others_alone() -> None:
    rule = next(rule for rule in RULES if rule.languages == ("python",))
    filters.check([rule], "bash", [rule.example.encode()])


@pytest.mark.parametrize("code", ORDINARY)
@pytest.mark.parametrize("language", ["python", "bash", "c", "javascript"])
def test_ordinary_programs_pass(language: str, code: str) -> None:
    filters.check(RULES, language, [code.encode()])


def test_samples_pass() -> None:
    for toolchain in toolchains.load().all():
        filters.check(RULES, toolchain.id, [toolchain.sample.code.encode()])


def test_any_bytes_are_looked_at_and_only_so_many() -> None:
    filters.check(RULES, "bash", [bytes(range(256)) * 100, b"x(" * LOOKED_AT, b"a" * LOOKED_AT * 4])
    filters.check(RULES, "bash", [b" " * LOOKED_AT + b":(){ :|:& };:"])
