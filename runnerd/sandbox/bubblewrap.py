"""BoxSpec -> bubblewrap's arguments. Pure: the same spec always gives the same arguments."""

import os
from collections.abc import Sequence

from runnerd.sandbox.recipe import BOX_UID, DEVPTS, INIT, RECIPE, Recipe
from runnerd.sandbox.spec import BoxSpec


def arguments(spec: BoxSpec, etc: str, tools: str) -> list[str]:
    """The arguments of bubblewrap (without its own name) that build the box of `spec` and become init in it.

    `etc` and `tools` are host folders that the box's uid can read: the box's /etc and its /opt/runnerd.

    Every mount a program can write has a size. Order matters: /dev is a tmpfs that bubblewrap leaves writable and as
    large as half the host's memory, so it is made read-only once /dev/shm, with a size of its own, lies on it.

    bubblewrap takes no options for devpts, so init gives it some, with the two capabilities that this takes. To be able
    to, it starts as root of the box's user namespace and itself makes the one in which programs run and nobody is root:
    bubblewrap would have made that before it starts init. See native/devpts.c.
    """
    limits = spec.limits
    owned_work = not spec.work.startswith("/tmp/")
    arguments = [
        *("--unshare-user", "--unshare-pid", "--unshare-net", "--unshare-ipc", "--unshare-uts", "--unshare-cgroup"),
        *("--die-with-parent", "--as-pid-1"),
        *("--cap-drop", "ALL", "--cap-add", "CAP_SYS_ADMIN", "--cap-add", "CAP_SETFCAP"),
        *("--uid", "0", "--gid", "0", "--hostname", spec.hostname),
        *("--ro-bind", "/usr", "/usr"),
        *_usr_links(),
        *("--ro-bind", etc, "/etc", "--ro-bind", tools, "/opt/runnerd"),
    ]
    for bind in spec.binds:
        arguments += ["--ro-bind", bind.source, bind.target]
    arguments += ["--proc", "/proc"]
    for path in spec.masked:
        arguments += ["--ro-bind", "/dev/null", path]  # a device, on a mount that has none: EACCES
    arguments += ["--dev", "/dev"]
    if owned_work:
        arguments += _tmpfs("/dev/shm", limits.shm, "1777")
        arguments += _tmpfs(spec.work, limits.work, "0700")
    arguments += _tmpfs("/tmp", limits.tmp, "1777")
    arguments += ["--remount-ro", "/dev", "--remount-ro", "/"]
    arguments += ["--chdir", "/", "--", INIT, DEVPTS, str(BOX_UID), spec.work]
    return arguments


def recipe(arguments: Sequence[str]) -> Recipe:
    """On a descriptor rather than on a command line, which would show a host's paths to its other users."""
    separator = arguments.index("--")
    read = b"".join(os.fsencode(word) + b"\0" for word in arguments[:separator])
    return Recipe(("--args", str(RECIPE), *arguments[separator:]), read)


def _usr_links() -> Sequence[str]:
    """Merged-/usr links: every distribution that runnerd supports has them, and programs name both paths."""
    return [word for name in ("bin", "sbin", "lib", "lib64") for word in ("--symlink", f"usr/{name}", f"/{name}")]


def _tmpfs(target: str, size: int, mode: str) -> Sequence[str]:
    return ["--perms", mode, "--size", str(size), "--tmpfs", target]
