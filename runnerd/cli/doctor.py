"""`runnerd doctor`: what this host offers boxes, what it lacks, and how to mend it."""

import argparse
import json
import os
import platform
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import msgspec

from runnerd.cli import style
from runnerd.cli.options import Subparsers, add_backend, add_config, add_json, add_state_dir, configuration, state_dir
from runnerd.config import Config
from runnerd.errors import RunnerdError, SetupError

if TYPE_CHECKING:
    from runnerd.sandbox.host import Host

Grade = Literal["ok", "warning", "missing"]
COLOURS: dict[Grade, str] = {"ok": "32", "warning": "33", "missing": "31"}
BUBBLEWRAP_LEAST = (0, 8)


class Finding(msgspec.Struct, frozen=True):
    """One check. `missing`: no box works without it; `warning`: something is weaker. `fix` says what to do."""

    check: str
    grade: Grade
    found: str
    fix: str = ""


def add_parser(subparsers: Subparsers) -> None:
    parser = subparsers.add_parser(
        "doctor",
        help="check what this host offers boxes",
        description="Check all that boxes need of this host, each with a fix. Exits with 1 when something essential is "
        "missing.",
    )
    add_state_dir(parser)
    add_config(parser)
    add_backend(parser)
    add_json(parser)
    parser.set_defaults(func=_doctor)


def _doctor(arguments: argparse.Namespace) -> int:
    config = configuration(arguments)
    findings = list(examine(config, state_dir(arguments)))
    if arguments.json:
        print(json.dumps([msgspec.structs.asdict(finding) for finding in findings]))
    else:
        for finding in findings:
            print(f"{style(f'{finding.grade:<8}', COLOURS[finding.grade])} {finding.check}: {finding.found}")
            if finding.fix:
                print(f"         {finding.fix}")
    return 1 if any(finding.grade == "missing" for finding in findings) else 0


def examine(config: Config, state: Path) -> Iterator[Finding]:
    """All checks, those that others depend on first."""
    yield _kernel()
    yield from _user_namespaces()
    yield _seccomp()
    yield _landlock()
    yield _bubblewrap(config)
    yield _nsjail(config)
    yield _uids()
    yield from _languages()
    yield from _boxes(config, state)


def _read(path: str) -> str | None:
    try:
        return Path(path).read_text().strip()
    except OSError:
        return None


def _kernel() -> Finding:
    release = platform.release()
    version = tuple(int(part) for part in re.findall(r"\d+", release)[:2])
    if version < (5, 14):
        return Finding("kernel", "missing", release, "Linux 5.14 or newer is needed (clone3, pidfds, cgroup.kill)")
    return Finding("kernel", "ok", release)


def _user_namespaces() -> Iterator[Finding]:
    most = _read("/proc/sys/user/max_user_namespaces")
    if most == "0":
        yield Finding("user namespaces", "missing", "off", "sysctl -w user.max_user_namespaces=15000")
    elif _read("/proc/sys/kernel/unprivileged_userns_clone") == "0":
        yield Finding("user namespaces", "missing", "off", "sysctl -w kernel.unprivileged_userns_clone=1")
    else:
        yield Finding("user namespaces", "ok", f"at most {most or 'unknown'}")
    if _read("/proc/sys/kernel/apparmor_restrict_unprivileged_userns") == "1":
        yield _apparmor()


def _apparmor() -> Finding:
    """Of a host that restricts user namespaces to programs whose AppArmor profile allows them, and to root: but root's
    boxes are built by uids of their own."""
    profile = _read("/proc/self/attr/apparmor/current") or "unconfined"
    if profile.startswith("runnerd "):
        return Finding("AppArmor", "ok", "restricts user namespaces; the profile runnerd allows them")
    return Finding(
        "AppArmor",
        "missing",
        f"keeps programs under the profile {profile} from making user namespaces",
        "scripts/install loads a profile for /opt/runnerd that allows them; by hand: copy systemd/apparmor/runnerd to "
        "/etc/apparmor.d/, then `apparmor_parser --replace /etc/apparmor.d/runnerd`",
    )


def _seccomp() -> Finding:
    actions = _read("/proc/sys/kernel/seccomp/actions_avail")
    if actions is None or "kill_process" not in actions:
        return Finding("seccomp", "missing", "no filters", "a kernel with CONFIG_SECCOMP_FILTER is needed")
    return Finding("seccomp", "ok", "filters")


def _landlock() -> Finding:
    lsm = _read("/sys/kernel/security/lsm")
    if lsm is not None and "landlock" not in lsm.split(","):
        return Finding("Landlock", "warning", "not active", "add landlock to the lsm= kernel argument: a layer more")
    return Finding("Landlock", "ok", "loaded by init where the kernel has it")


def _cgroup(weaker: str) -> Finding:
    """`weaker` says why boxes cannot be held by it here; empty when they are."""
    controllers = _read("/sys/fs/cgroup/cgroup.controllers")
    found = "no unified cgroup v2 on /sys/fs/cgroup" if controllers is None else f"cgroup v2 with {controllers}"
    if not weaker:
        return Finding("cgroup v2", "ok", f"{found}: a leaf for each box")
    return Finding(
        "cgroup v2",
        "warning",
        f"{found}; limits are best-effort: {weaker}",
        "run it as the service (scripts/install), or under systemd-run --user --scope -p Delegate=yes",
    )


def _bubblewrap(config: Config) -> Finding:
    path = config.bubblewrap or shutil.which("bwrap")
    lacking: Grade = "missing" if config.backend == "bubblewrap" else "warning"
    if path is None:
        return Finding("bubblewrap", lacking, "not found", "apt-get install bubblewrap")
    try:
        output = subprocess.run([path, "--version"], capture_output=True, text=True, check=True, timeout=10).stdout
        version = tuple(int(part) for part in re.findall(r"\d+", output)[:3])
    except (OSError, subprocess.SubprocessError) as problem:
        return Finding("bubblewrap", lacking, f"{path}: {problem}", "apt-get install --reinstall bubblewrap")
    if version < BUBBLEWRAP_LEAST:
        return Finding("bubblewrap", lacking, output.strip(), "0.8.0 or newer is needed")
    return Finding("bubblewrap", "ok", f"{path} {'.'.join(map(str, version))}")


def _nsjail(config: Config) -> Finding:
    """The second backend; needed only where it is chosen."""
    from runnerd.sandbox.host import find_program

    try:
        return Finding("nsjail", "ok", find_program(msgspec.structs.replace(config, backend="nsjail")))
    except SetupError as problem:
        if config.backend == "nsjail":
            return Finding("nsjail", "missing", problem.message, problem.hint)
        return Finding("nsjail", "ok", "not installed; optional, a second backend beside bubblewrap")


def _uids() -> Finding:
    if os.geteuid() == 0:
        return Finding("uids", "ok", "a uid of its own for each box")
    return Finding(
        "uids", "warning", "all boxes share this user's uid", "start the daemon as root: it gives each its own"
    )


def _languages() -> Iterator[Finding]:
    from runnerd import toolchains

    languages = toolchains.load()
    for one in languages.all():
        missing = languages.missing(one)
        if missing:
            packages = " ".join(need.package for need in missing)
            yield Finding(one.name, "warning", "not installed", f"install {packages}")
        else:
            yield Finding(one.name, "ok", "installed")


def _boxes(config: Config, state: Path) -> Iterator[Finding]:
    """How they are held, and a real one with all its layers."""
    import trio

    from runnerd.sandbox.host import open_host

    try:
        with open_host(config, limits="auto", state_dir=state) as host:
            yield _cgroup(host.weaker)
            trio.run(_try_box, host)
    except RunnerdError as problem:
        yield Finding("a box", "missing", problem.message, problem.hint)
    else:
        yield Finding("a box", "ok", "starts, runs a program and ends")


async def _try_box(host: "Host") -> None:
    from runnerd.sandbox.box import open_box
    from runnerd.sandbox.spec import Launch, Limits

    async with open_box(host, host.spec(Limits())) as box:
        await box.alive()  # tells what bubblewrap said when it could not make it
        process = await box.start(Launch(("true",), {"PATH": "/usr/bin:/bin"}, mode="pipes"))
        await process.exited.wait()
        process.close()
        if process.exit is None or process.exit.code != 0:
            raise box.failure or RunnerdError(f"a program that should succeed did not: {process.exit}")
