"""Recipes of boxes that lack one layer, or show one thing too many, for either backend."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

from runnerd.sandbox import bubblewrap, nsjail
from runnerd.sandbox.host import Host
from runnerd.sandbox.recipe import DEVPTS, TERMINALS, Recipe
from runnerd.sandbox.spec import BoxSpec

Layer = Literal["read-only root", "own network", "own /proc", "own maximum of terminals"]

BOUNDLESS = DEVPTS.removesuffix(f",max={TERMINALS}")
assert BOUNDLESS != DEVPTS


def without(host: Host, spec: BoxSpec, layer: Layer) -> Recipe:
    """The recipe of this box with exactly that layer taken out. The host's /proc/sys is read-only where it is shown."""
    if host.backend == "bubblewrap":
        words = bubblewrap.arguments(spec, host.etc, host.tools)
        out, instead = {
            "read-only root": (("--remount-ro", "/"), ()),
            "own network": (("--unshare-net",), ()),
            # Init says in its /proc/self as whom programs run, so not all of it can be read-only.
            "own /proc": (("--proc", "/proc"), ("--bind", "/proc", "/proc", "--ro-bind", "/proc/sys", "/proc/sys")),
            "own maximum of terminals": ((DEVPTS,), (BOUNDLESS,)),
        }[layer]
        return bubblewrap.recipe(_replaced(words, out, instead))
    configuration = nsjail.configuration(spec, host.etc, host.tools)
    mounts = {mount["dst"]: mount for mount in configuration["mount"]}
    if layer == "read-only root":
        assert mounts["/"]["rw"] is False
        mounts["/"]["rw"] = True
    elif layer == "own network":
        assert configuration["clone_newnet"] is True
        configuration["clone_newnet"] = False
    elif layer == "own maximum of terminals":
        assert mounts["/dev/pts"]["options"] == f"newinstance,{DEVPTS}"
        mounts["/dev/pts"]["options"] = f"newinstance,{BOUNDLESS}"
    else:
        assert mounts["/proc"]["fstype"] == "proc"
        mounts["/proc"].update(src="/proc", fstype="", is_bind=True, rw=False)
    return nsjail.recipe(configuration)


def showing(host: Host, spec: BoxSpec, source: Path, target: str) -> Recipe:
    """The recipe of this box, in which a folder or file of the host can be written at `target`."""
    if host.backend == "bubblewrap":
        words = bubblewrap.arguments(spec, host.etc, host.tools)
        shown = ("--bind", str(source), target)
        return bubblewrap.recipe(_replaced(words, ("--remount-ro", "/dev"), (*shown, "--remount-ro", "/dev")))
    configuration = nsjail.configuration(spec, host.etc, host.tools)
    shown = {"src": str(source), "dst": target, "is_bind": True, "is_dir": source.is_dir(), "rw": True}
    configuration["mount"].append(shown)
    return nsjail.recipe(configuration)


def handing_down(host: Host, spec: BoxSpec, *argv: str) -> tuple[list[str], bytes]:
    """A command that runs a program in this box's namespaces without init, and hands down what it was started with: all
    of its environment and descriptors. And what it reads from standard input."""
    if host.backend == "bubblewrap":
        words = _replaced(bubblewrap.arguments(spec, host.etc, host.tools), ("--as-pid-1",), ())
        return [host.program, *words[: words.index("--")], "--", *argv], b""
    configuration: dict[str, Any] = nsjail.configuration(spec, host.etc, host.tools)
    configuration["exec_bin"] = {"path": "/usr/bin/env", "arg": list(argv)}
    configuration |= {"keep_env": True, "pass_fd": list(range(3, 1024))}
    return [host.program, "--config", "/proc/self/fd/0"], nsjail.recipe(configuration).read


def _replaced(words: Sequence[str], out: Sequence[str], instead: Sequence[str]) -> list[str]:
    """`words` with one run of them replaced by others."""
    at = next(i for i in range(len(words)) if tuple(words[i : i + len(out)]) == tuple(out))
    return [*words[:at], *instead, *words[at + len(out) :]]
