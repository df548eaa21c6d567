"""Policies, their compilation and cache. What the kernel makes of them is tests/attacks' to show."""

import os
import struct
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runnerd.errors import BadRequest
from runnerd.sandbox import seccomp

from .bpf import ALLOW, KILL, Call, decide

X86_64, I386 = 0xC000003E, 0x40000003
EPERM, ENOSYS = 1, 38
NUMBERS = {"ioctl": 16, "clone": 56, "prctl": 157, "socket": 41, "mount": 165, "read": 0, "prlimit64": 302, "fcntl": 72}
PROGRAMS = seccomp.filters(best_effort=False, cache=None)
BEST_EFFORT = seccomp.filters(best_effort=True, cache=None)

U64 = st.integers(0, 2**64 - 1)


def answer(name: str | int, *arguments: int, arch: int = X86_64, programs: tuple[bytes, ...] = PROGRAMS) -> int | str:
    """What both filters together say: "allow", "kill", or the errno."""
    number = NUMBERS[name] if isinstance(name, str) else name
    call = Call(number, arch, arguments + (0,) * (6 - len(arguments)))
    answers = [decide(program, call) for program in reversed(programs)]  # of equal ones the last loaded counts
    strictest = min(answers, key=lambda action: (action != KILL, action >> 16))
    return "allow" if strictest == ALLOW else "kill" if strictest == KILL else strictest & 0xFFFF


def test_ordinary_calls_pass() -> None:
    assert answer("read", 0, 0, 1) == "allow"
    assert answer("socket", 2, 1, 0) == answer("socket", 1, 1, 0) == answer("socket", 16, 3, 0) == "allow"


@given(U64, st.sampled_from([0x5412, 0x541C]))
def test_typing_into_terminals_is_refused_whatever_the_high_bits(high: int, request_: int) -> None:
    assert answer("ioctl", 0, (high & ~0xFFFFFFFF) | request_) == EPERM


@given(U64.filter(lambda number: number & 0xFFFFFFFF not in (0x5412, 0x541C)))
def test_other_ioctls_pass(request_: int) -> None:
    assert answer("ioctl", 0, request_) == "allow"


@given(U64, st.sampled_from([0x80, 0x20000, 0x2000000, 0x4000000, 0x8000000, 0x10000000, 0x20000000, 0x40000000]))
def test_any_namespace_flag_is_refused(others: int, flag: int) -> None:
    assert answer("clone", others | flag) == EPERM


@given(U64, st.integers(0, 5))
def test_foreign_architectures_are_killed(argument: int, number: int) -> None:
    assert answer(number, argument, arch=I386) == "kill"


@given(st.integers(0, 500))
def test_x32_is_killed(number: int) -> None:
    assert answer(number | 0x40000000) == "kill"


@given(st.integers(500, 2**30 - 1))
def test_unknown_calls_are_unknown(number: int) -> None:
    assert answer(number) == ENOSYS


@given(st.integers(0, 2**32 - 1).filter(lambda family: family not in (1, 2, 10, 16)), U64)
def test_other_socket_families_are_unknown(family: int, high: int) -> None:
    assert answer("socket", (high & ~0xFFFFFFFF) | family, 3, 0) == ENOSYS


@given(st.sampled_from([2, 10]), st.integers(0, 2**32 - 1).filter(lambda protocol: protocol not in (0, 6, 17)))
def test_only_tcp_and_udp(family: int, protocol: int) -> None:
    assert answer("socket", family, 1, protocol) == ENOSYS
    assert answer("socket", family, 1, 6) == answer("socket", family, 2, 17) == "allow"


@given(st.integers(1, 2**32 - 1))
def test_netlink_is_for_routes_only(protocol: int) -> None:
    assert answer("socket", 16, 3, protocol) == ENOSYS


@given(U64)
def test_own_filters_are_refused(high: int) -> None:
    assert answer("prctl", (high & ~0xFFFFFFFF) | 22) == EPERM
    assert answer("prctl", 38) == "allow"
    assert answer(317) == EPERM  # seccomp


def test_the_second_filter_can_be_loaded() -> None:
    assert answer(317, programs=PROGRAMS[:1]) == "allow"


def test_limits_of_other_processes_are_refused() -> None:
    assert answer("prlimit64", 1, 7, 0x1000) == EPERM
    assert answer("prlimit64", 0, 7, 0x1000) == answer("prlimit64", 1, 7, 0) == "allow"


def test_best_effort_refuses_what_cannot_be_counted() -> None:
    for number in (29, 64, 68, 319):  # shmget, semget, msgget, memfd_create
        assert answer(number, programs=BEST_EFFORT) == ENOSYS
        assert answer(number) == "allow"
    assert answer("fcntl", 0, 1031, programs=BEST_EFFORT) == EPERM
    assert answer("fcntl", 0, 1030, programs=BEST_EFFORT) == "allow"


@pytest.mark.parametrize("call", ["mount", "ptrace", "bpf", "unshare", "io_uring_setup", "keyctl", "clone3"])
def test_explain_gives_the_reason(call: str) -> None:
    verdicts = seccomp.explain(call, best_effort=False)
    refused = [verdict for verdict in verdicts if verdict.policy == "deny"]
    assert refused[0].action.startswith("refused with E")
    assert len(refused[0].why) > 10


def test_explain_suggests() -> None:
    with pytest.raises(BadRequest, match="ptrase") as refused:
        seccomp.explain("ptrase", best_effort=False)
    assert "ptrace" in refused.value.hint


def test_every_rule_says_why() -> None:
    for policy in seccomp.policies(best_effort=True):
        assert all(rule.why and rule.calls for rule in policy.rules)


def test_cache_is_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = seccomp.filters(best_effort=False, cache=tmp_path)
    monkeypatch.setattr(seccomp, "_pyseccomp", lambda: pytest.fail("compiled again"))
    assert seccomp.filters(best_effort=False, cache=tmp_path) == first == PROGRAMS


@pytest.mark.parametrize("damage", [b"", b"short", b"\0" * 4000])
def test_damaged_cache_is_not_loaded(tmp_path: Path, damage: bytes) -> None:
    seccomp.filters(best_effort=False, cache=tmp_path)
    for entry in tmp_path.iterdir():
        entry.write_bytes(damage)
    assert seccomp.filters(best_effort=False, cache=tmp_path) == PROGRAMS


def test_cache_that_others_can_write_is_not_used(tmp_path: Path) -> None:
    os.chmod(tmp_path, 0o777)
    seccomp.filters(best_effort=False, cache=tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_programs_are_whole_instructions() -> None:
    assert all(len(program) % struct.calcsize("HBBI") == 0 for program in PROGRAMS)
