"""Seccomp policies (data under seccomp/) -> BPF programs that init loads, compiled once and cached."""

import difflib
import errno
import hashlib
import os
import platform
import stat
import tempfile
import tomllib
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import msgspec

from runnerd.errors import BadRequest, SetupError
from runnerd.resources import folder

ORDER = ("allow", "deny")
"""The filters in load order: of several refusals the kernel answers with the errno of the last."""

_FORMAT = "1"
"""Part of the cache's key: raise it when compiling the same policy gives other bytes."""


class Condition(msgspec.Struct, frozen=True):
    """Holds when (argument `arg` & mask) == value, or, with `differs`, when the argument is another."""

    arg: int
    mask: int
    value: int
    differs: bool = False

    def __str__(self) -> str:
        if self.differs:
            return f"argument {self.arg} is not {self.value:#x}"
        return f"argument {self.arg} & {self.mask:#x} is {self.value:#x}"


class Rule(msgspec.Struct, frozen=True):
    """For these calls, under all `conditions`: allowed (errno None), or refused with that errno."""

    calls: tuple[str, ...]
    why: str
    errno: str | None
    conditions: tuple[Condition, ...]


class Policy(msgspec.Struct, frozen=True):
    """One filter: what it says of calls that no rule names ("allow", or an errno's name), and its rules."""

    name: str
    default: str
    rules: tuple[Rule, ...]


class Verdict(msgspec.Struct, frozen=True):
    """What one filter says of one call, in words."""

    policy: str
    action: str
    when: str
    why: str


def policies(*, best_effort: bool) -> tuple[Policy, ...]:
    """The filters in the order in which they are loaded. The kernel takes the strictest answer of all, and of several
    refusals the errno of the last."""
    allow, deny = map(_read, ORDER)
    return allow, msgspec.structs.replace(deny, rules=deny.rules + _read("best-effort").rules) if best_effort else deny


def filters(*, best_effort: bool, cache: Path | None) -> tuple[bytes, ...]:
    """The BPF programs in load order. `cache` is a folder that only we can write; others are not used.

    Importing pyseccomp looks for libseccomp by running programs, which a start need not pay for twice.
    Raises SetupError when libseccomp is missing.
    """
    key = hashlib.sha256("\0".join([_FORMAT, platform.machine(), *_texts(best_effort)]).encode()).hexdigest()[:32]
    if cache is not None and not _private(cache):
        cache = None
    entries = [cache / f"{name}-{key}.bpf" for name in ORDER] if cache else []
    kept = [program for entry in entries if (program := _cached(entry)) is not None]
    if len(kept) == len(ORDER):
        return tuple(kept)
    programs = tuple(map(compile_policy, policies(best_effort=best_effort)))
    for entry, program in zip(entries, programs, strict=False):  # there are no entries without a cache
        _keep(entry, program)
    return programs


def explain(call: str, *, best_effort: bool) -> list[Verdict]:
    """Whether a system call is allowed in boxes, and why. Raises BadRequest for a name that no kernel knows."""
    verdicts: list[Verdict] = []
    for policy in policies(best_effort=best_effort):
        for rule in policy.rules:
            if call in rule.calls:
                action = f"refused with {rule.errno}" if rule.errno else "allowed"
                verdicts.append(Verdict(policy.name, action, " and ".join(map(str, rule.conditions)), rule.why))
        default = "allowed" if policy.default == "allow" else f"refused with {policy.default}"
        otherwise = any(verdict.policy == policy.name for verdict in verdicts)
        if not otherwise or verdicts[-1].when:
            verdicts.append(Verdict(policy.name, default, "otherwise" if otherwise else "", "the filter's default"))
    if len(verdicts) == 2 and not _known(call):
        names = {name for policy in policies(best_effort=best_effort) for rule in policy.rules for name in rule.calls}
        close = difflib.get_close_matches(call, names, n=3)
        raise BadRequest(
            f"{call} is not a system call of {platform.machine()}",
            hint=f"did you mean {', '.join(close)}?" if close else "see man 2 syscalls",
        )
    return verdicts


def compile_policy(policy: Policy) -> bytes:
    """One policy as a BPF program (struct sock_filter[]). Foreign architectures and x32 are killed."""
    seccomp = _pyseccomp()
    compiled: Any = seccomp.SyscallFilter(_action(seccomp, policy.default))
    compiled.set_attr(seccomp.Attr.ACT_BADARCH, seccomp.KILL_PROCESS)
    compiled.set_attr(seccomp.Attr.CTL_OPTIMIZE, 2)
    for rule in policy.rules:
        action = _action(seccomp, rule.errno or "allow")
        conditions = [
            seccomp.Arg(c.arg, seccomp.NE, c.value)
            if c.differs
            else seccomp.Arg(c.arg, seccomp.MASKED_EQ, c.mask, c.value)
            for c in rule.conditions
        ]
        for call in rule.calls:
            if _known(call):
                compiled.add_rule(action, call, *conditions)
    with tempfile.TemporaryFile() as file:
        compiled.export_bpf(file)
        file.seek(0)
        return file.read()


def _read(name: str) -> Policy:
    data = tomllib.loads((folder("seccomp") / f"{name}.toml").read_text())
    rules = [
        Rule(tuple(rule["calls"]), rule["why"], rule.get("errno"), tuple(_conditions(rule))) for rule in data["rule"]
    ]
    return Policy(name, data["default"], tuple(rules))


def _conditions(rule: dict[str, Any]) -> Sequence[Condition]:
    """A rule's conditions: `arg` with `mask` and `value`, or with `not`; a second one under `arg2` and so on."""
    return [
        Condition(rule[f"arg{n}"], 0, rule[f"not{n}"], differs=True)
        if f"not{n}" in rule
        else Condition(rule[f"arg{n}"], rule[f"mask{n}"], rule[f"value{n}"])
        for n in ("", "2")
        if f"arg{n}" in rule
    ]


def _texts(best_effort: bool) -> list[str]:
    names = ("deny", "best-effort", "allow") if best_effort else ("deny", "allow")
    return [(folder("seccomp") / f"{name}.toml").read_text() for name in names]


def _pyseccomp() -> Any:
    try:
        import pyseccomp
    except (ImportError, OSError, RuntimeError) as problem:
        raise SetupError(f"loading libseccomp: {problem}", hint="install it: apt-get install libseccomp2") from problem
    return pyseccomp


def _action(seccomp: Any, word: str) -> Any:
    return seccomp.ALLOW if word == "allow" else seccomp.ERRNO(getattr(errno, word))


def _known(call: str) -> bool:
    """Whether libseccomp knows the call on this architecture; newer kernels know more than it, older ones less."""
    try:
        number = _pyseccomp().resolve_syscall(_pyseccomp().system_arch(), call)
    except ValueError:
        return False
    return number >= 0


def _private(path: Path) -> bool:
    """Whether only we can put files there: what is in the cache is loaded as it is."""
    try:
        status = path.stat()
    except OSError:
        return False
    return status.st_uid == os.geteuid() and not status.st_mode & (stat.S_IWGRP | stat.S_IWOTH)


def _cached(entry: Path) -> bytes | None:
    """A kept program; its first 32 bytes are the digest of the rest, so that a torn file is not loaded."""
    try:
        data = entry.read_bytes()
    except OSError:
        return None
    digest, program = data[:32], data[32:]
    return program if program and hashlib.sha256(program).digest() == digest else None


def _keep(entry: Path, program: bytes) -> None:
    with suppress(OSError):  # a full disk costs the next start 50 ms, no more
        descriptor, aside = tempfile.mkstemp(dir=entry.parent)
        with open(descriptor, "wb") as file:
            file.write(hashlib.sha256(program).digest() + program)
        os.replace(aside, entry)
