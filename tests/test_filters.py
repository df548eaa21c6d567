"""Rules of the gateway filter: each refuses its examples, none refuses an ordinary program, none takes long."""

import re
import sysconfig
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runnerd import filters, toolchains
from runnerd.filters import LOOKED_AT, Filtered, Rule

SOURCE = Path(__file__).resolve().parents[1]
RULES = filters.load()
TOOLCHAINS = toolchains.load()
EXAMPLES = [(rule, example) for rule in RULES for example in rule.examples]

ORDINARY = [
    # shell
    "f() { echo hi | cat & }; f",
    "f() { g | h & }; f",
    "a() { b; }; b() { a & }; wait",
    "cat /proc/self/cgroup; ls /sys/fs/cgroup",
    "memory=$(cat /sys/fs/cgroup/memory.max); echo $memory > /tmp/limit",
    "cat /sys/fs/cgroup/memory.max > /tmp/limit; tee -a log < /sys/fs/cgroup/pids.max",
    "cat /proc/1/status; cat /proc/cpuinfo; cat /proc/sys/kernel/core_pattern; cat /proc/sys/kernel/sysrq",
    "find / -name release_agent; grep -r notify_on_release .",
    "ls -l /dev/sda 2>/dev/null; dd if=/dev/zero of=/tmp/file bs=1k count=4; echo x > /dev/null; df /dev/sda1",
    "mount | grep /dev/sda1; mount -t tmpfs none /mnt",
    "man nsenter; nsenter --help; nsenter -t 1234 -n ip addr",
    "git release_agent > notes/release_agents.txt",
    # languages
    "import os\npid = os.fork()\nif pid == 0:\n    print('child')\nelse:\n    os.wait()",
    "while True:\n    line = input()\n    if not line: break",
    "while True:\n    if os.fork() == 0: serve()",
    "#include <unistd.h>\nint main(void) { for (int i = 0; i < 3; i++) if (fork() == 0) return 0; for (;;) pause(); }",
    "const f = () => { return a | b & c }; f()",
    "unsigned f(unsigned x) { return x | x & 3; }",
    'print(open("/sys/fs/cgroup/memory.max").read(), "weekly", "a")',
    'open("/sys/fs/cgroup/memory.max", "r"); open("/sys/fs/cgroup/memory.max", mode="rb")',
    'from pathlib import Path\nprint(Path("/sys/fs/cgroup/memory.max").read_text())',
    'Path("/sys/fs/cgroup/pids.max").open("rb")',
    'FILE *f = fopen("/sys/fs/cgroup/memory.max", "r"); open("/sys/fs/cgroup/memory.max", O_RDONLY);',
    "const max = fs.readFileSync('/sys/fs/cgroup/memory.max', 'utf8'); fs.writeFileSync('out', max)",
    'String max = Files.readString(Path.of("/sys/fs/cgroup/memory.max")); new FileReader("/sys/fs/cgroup/cpu.max")',
    'std::ifstream in("/sys/fs/cgroup/memory.max"); std::ofstream out("copy");',
    # words about them
    "# docker.sock, sysrq and core_pattern are words",
    "print('Alt+SysRq, or a byte into /proc/sysrq-trigger, reboots: see sysrq.rst')",
    "cat <<EOF\nservices:\n  proxy:\n    volumes:\n      - /var/run/docker.sock:/var/run/docker.sock:ro\nEOF",
    "print('bash calls :(){ a fork bomb', 'nsenter enters namespaces of --target 4321')",
]


def refused(language: str, *texts: bytes, rules: tuple[Rule, ...] = RULES) -> str:
    """The name of the rule, "" if the code may run."""
    try:
        filters.check(rules, language, texts)
    except Filtered as problem:
        found = re.search(r"the rule (\S+) refuses it", problem.message)
        assert found is not None
        return found[1]
    return ""


@pytest.mark.parametrize(("rule", "example"), EXAMPLES, ids=[f"{r.name}-{e[:30]}" for r, e in EXAMPLES])
def test_each_rule_refuses_its_examples_and_says_so(rule: Rule, example: str) -> None:
    language = rule.languages[0] if rule.languages else "bash"
    with pytest.raises(Filtered, match=re.escape(f"the rule {rule.name} refuses it ({rule.why})")):
        filters.check([rule], language, [b"", b"# a comment\n" + example.encode()])
    assert refused(language, example.encode()) == rule.name


def test_each_example_is_refused_by_one_rule_alone() -> None:
    """Otherwise a rule could be taken out, or spoilt, and no example would tell."""
    for rule, example in EXAMPLES:
        language = rule.languages[0] if rule.languages else "bash"
        others = tuple(other for other in RULES if other is not rule)
        assert refused(language, example.encode(), rules=others) == "", example


def test_every_rule_is_documented() -> None:
    rows = re.findall(r"^\| (`[^|]*`) \|", (SOURCE / "docs/filter.md").read_text(), re.MULTILINE)
    assert [name for row in rows for name in re.findall(r"`(.+?)`", row)] == list(dict.fromkeys(r.name for r in RULES))


def test_languages_are_ids_of_toolchains() -> None:
    """Runs are looked up by their toolchain's id: a rule for an alias would never apply."""
    assert {language for rule in RULES for language in rule.languages} <= {one.id for one in TOOLCHAINS.all()}


def test_a_rule_for_some_languages_leaves_the_others_alone() -> None:
    rule = next(rule for rule in RULES if rule.languages == ("python",))
    assert refused("python", rule.examples[0].encode()) == "fork-loop"
    assert refused("bash", rule.examples[0].encode()) == ""


@pytest.mark.parametrize("code", ORDINARY)
@pytest.mark.parametrize("language", [one.id for one in TOOLCHAINS.all()])
def test_ordinary_programs_pass(language: str, code: str) -> None:
    assert refused(language, code.encode()) == ""


def test_samples_pass() -> None:
    for toolchain in TOOLCHAINS.all():
        assert refused(toolchain.id, toolchain.sample.code.encode()) == ""


def test_pythons_own_library_passes() -> None:
    """Hundreds of programs that nobody wrote with these rules in mind."""
    library = Path(sysconfig.get_path("stdlib"))
    modules = [
        path for path in library.rglob("*.py") if not {"site-packages", "dist-packages", "test"} & set(path.parts)
    ]
    assert len(modules) > 300
    assert [path for path in modules if refused("python", path.read_bytes())] == []


@given(
    st.text(alphabet=" \t\n", max_size=9),
    st.from_regex(re.compile(r"[a-zA-Z_:][\w:.]{0,20}", re.ASCII), fullmatch=True),
    st.sampled_from("|&"),
)
def test_a_bomb_is_refused_however_it_is_spaced_and_named(space: str, name: str, joint: str) -> None:
    bomb = f"{name}{space}({space}){space}{{{space or ' '}{name}{space}{joint}{space}{name}{space}&{space}}};{name}"
    assert refused("bash", f"echo hello;{bomb}".encode()) == "fork-bomb"


@given(st.lists(st.binary(max_size=300), max_size=5), st.sampled_from(["", "bash", "python", "klingon"]))
def test_any_bytes_are_looked_at(texts: list[bytes], language: str) -> None:
    refused(language, *texts)


BOMB = b":(){ :|:& };:"


def test_only_so_much_is_looked_at_and_the_shortest_first() -> None:
    assert refused("bash", b" " * (LOOKED_AT - len(BOMB)) + BOMB) == "fork-bomb"
    assert refused("bash", b" " * LOOKED_AT + BOMB) == ""
    assert refused("bash", b"x" * LOOKED_AT, BOMB) == "fork-bomb"
    assert refused("bash", *[b"x"] * 9, b"x" * LOOKED_AT, BOMB) == "fork-bomb"


def test_files_are_apart() -> None:
    """Only within one file is it a bomb."""
    assert refused("bash", b":() {", b":|:& };:") == ""
    assert refused("bash", b"f() {\n", b"f | f &\n}") == ""
    assert refused("bash", b"nsenter -m ", b"-t 1") == ""


def fragments() -> list[str]:
    """What hostile texts repeat: beginnings of all that is refused, and of what patterns have repeats in."""
    beginnings = {example[:end] for _, example in EXAMPLES for end in range(1, len(example), 4)}
    spaced = {
        f"{word}{' ' * 99}" for word in ("while(1)", "for(;;)", "while 1:", "nsenter", "tee", "open", "mount", ">")
    }
    long = {
        f"{word}{'a' * 99}" for word in ("open('/sys/fs/cgroup/", "> ", "ofstream", "connect", "Path('/sys/fs/cgroup/")
    }
    return sorted(beginnings | spaced | long)


def seconds(rules: tuple[Rule, ...], language: str, *texts: bytes) -> float:
    """Processor time of this thread: the machine may have other work."""
    began = time.thread_time()
    refused(language, *texts, rules=rules)
    return time.thread_time() - began


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: f"{rule.name}-{'-'.join(rule.languages)}")
def test_no_text_takes_long(rule: Rule) -> None:
    """The daemon's one thread waits for it, for about 2 ms at most; a pattern that backtracks without bounds takes
    seconds. What the rule looks for is there, so that its pattern is searched for."""
    language = rule.languages[0] if rule.languages else "bash"
    texts = [(rule.contains + " " + fragment * LOOKED_AT)[:LOOKED_AT].encode() for fragment in fragments()]
    assert max(seconds((rule,), language, text) for text in texts) < 0.1


def test_many_files_take_no_longer_than_one() -> None:
    files = [b"nsenter > open( /sys/fs/cgroup/ /dev/ & " * 1600] * 256
    assert seconds(RULES, "bash", *files) < 0.25
    crumbs = [b"&"] * 100_000
    assert seconds(RULES, "bash", *crumbs) < 0.25
