"""BoxSpec -> nsjail's configuration. Pure: the same spec always gives the same configuration.

As a file, not as options: only there can a mount be nosuid, and hold a colon in its path.
"""

import json
import re
from collections.abc import Iterable
from typing import Any

from runnerd.errors import SetupError
from runnerd.sandbox.recipe import BOX_UID, DEVPTS, INIT, RECIPE, Recipe
from runnerd.sandbox.spec import BoxSpec

Configuration = dict[str, Any]
"""nsjail's NsJailConfig (config.proto), as JSON has it."""

_ROOT = 1024 * 1024
"""Bytes of the root's tmpfs, which holds mount points and links, and is read-only once they are made."""


def configuration(spec: BoxSpec, etc: str, tools: str) -> Configuration:
    """What builds the box of `spec` and becomes init in it. Raises SetupError for what nsjail cannot express.

    `etc` and `tools` are host folders that the box's uid can read: the box's /etc and its /opt/runnerd.

    nsjail clones init into the new namespaces as PID 1, waits for it as bubblewrap does, and maps its own uid, which is
    already the box's. Mounts are made in order, and made read-only at the end. /dev has no mount of its own: it is a
    folder of the read-only root. What nsjail does beside (its limits, its seccomp, its cgroups, its clock) is off.
    """
    limits = spec.limits
    owned_work = not spec.work.startswith("/tmp/")
    return {
        "mode": "ONCE",
        "time_limit": 0,
        "log_level": "WARNING",
        "nice_level": 0,
        "disable_rl": True,
        "pass_fd": [3],
        "hostname": spec.hostname,
        "cwd": "/",
        **{f"clone_new{kind}": True for kind in ("user", "pid", "net", "ipc", "uts", "cgroup", "ns")},
        "uidmap": [{"inside_id": str(BOX_UID)}],
        "gidmap": [{"inside_id": str(BOX_UID)}],
        "mount": [
            _tmpfs("/", _ROOT, "0755", rw=False),
            _read_only("/usr", "/usr"),
            *(_link(f"usr/{name}", f"/{name}") for name in ("bin", "sbin", "lib", "lib64")),
            _read_only(etc, "/etc"),
            _read_only(tools, "/opt/runnerd"),
            *(_read_only(bind.source, bind.target) for bind in spec.binds),
            {"dst": "/proc", "fstype": "proc", "rw": True, "nosuid": True, "nodev": True, "noexec": True},
            *({**_read_only("/dev/null", path), "is_dir": False, "noexec": True} for path in spec.masked),
            *_dev(),
            _tmpfs("/dev/shm", limits.shm if owned_work else 4096, "1777", rw=owned_work),
            *([_tmpfs(spec.work, limits.work, "0700")] if owned_work else []),
            _tmpfs("/tmp", limits.tmp, "1777"),
        ],
        "exec_bin": {"path": INIT, "arg": [spec.work]},
    }


def refuse_mounts_below(spec: BoxSpec, mountinfo: str) -> None:
    """Raises SetupError where a folder that boxes are shown has mounts below it that are not read-only and nosuid.

    They come along, and nsjail makes the uppermost mount alone so. Those by which a service manager hides folders from
    a service are. `mountinfo` is the text of a /proc/PID/mountinfo.
    """
    mounts = [line.split()[4:6] for line in mountinfo.splitlines()]
    points = [_unescaped(point) for point, options in mounts if not {"ro", "nosuid"} <= set(options.split(","))]
    for source in ("/usr", *(bind.source for bind in spec.binds)):
        for point in points:
            if point.startswith(source.rstrip("/") + "/"):
                raise SetupError(
                    f"showing {source} to boxes: {point} is mounted below it, which nsjail would leave as it is",
                    hint='unmount it, or use the other backend: backend = "bubblewrap"',
                )


def recipe(configuration: Configuration) -> Recipe:
    return Recipe(("--config", f"/proc/self/fd/{RECIPE}"), json.dumps(configuration).encode())


def _dev() -> Iterable[dict[str, Any]]:
    """Devices can be written through read-only mounts. Of a service's own read-only /dev no other kind can be had."""
    for name in ("null", "zero", "full", "random", "urandom", "tty"):
        yield {
            "src": f"/dev/{name}",
            "dst": f"/dev/{name}",
            "is_bind": True,
            "is_dir": False,
            "nosuid": True,
            "noexec": True,
        }
    options = f"newinstance,{DEVPTS}"
    yield {"dst": "/dev/pts", "fstype": "devpts", "options": options, "rw": True, "nosuid": True, "noexec": True}
    yield _link("pts/ptmx", "/dev/ptmx")
    yield _link("/proc/self/fd", "/dev/fd")
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        yield _link(f"/proc/self/fd/{number}", f"/dev/{name}")


def _tmpfs(target: str, size: int, mode: str, *, rw: bool = True) -> dict[str, Any]:
    options = f"size={size},mode={mode}"
    return {"dst": target, "fstype": "tmpfs", "options": options, "rw": rw, "nosuid": True, "nodev": True}


def _read_only(source: str, target: str) -> dict[str, Any]:
    return {"src": _text(source), "dst": _text(target), "is_bind": True, "nosuid": True, "nodev": True}


def _link(source: str, target: str) -> dict[str, Any]:
    return {"src": source, "dst": target, "is_symlink": True}


def _unescaped(path: str) -> str:
    return re.sub(r"\\([0-7]{3})", lambda code: chr(int(code[1], 8)), path)


def _text(path: str) -> str:
    """Raises SetupError: nsjail's configuration is UTF-8, which file names need not be."""
    try:
        path.encode()
    except UnicodeEncodeError as problem:
        raise SetupError(
            f"showing {path!r} to boxes: nsjail takes no path that is not UTF-8",
            hint='rename it, or use the other backend: backend = "bubblewrap"',
        ) from problem
    return path
