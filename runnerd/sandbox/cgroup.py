"""The delegated tree: the daemon in a leaf of its own, and beside it `boxes` with a leaf for each box.

The kernel keeps processes out of every cgroup that shares resources out, hence the daemon's leaf. `boxes` has a ceiling
for all boxes together, so that they can take neither the daemon's share nor the host's.
"""

import itertools
import logging
import os
import time
from contextlib import suppress
from pathlib import Path

import msgspec

from runnerd.errors import BoxError, SetupError
from runnerd.sandbox import cgroupfs, leaf, procfs
from runnerd.sandbox.leaf import Leaf
from runnerd.sandbox.spec import BoxSpec, MiB

log = logging.getLogger("runnerd.sandbox")

DAEMON, BOXES = "daemon", "boxes"
NEEDED = ("cpu", "memory", "pids")

SHARE = 0.8
"""The part of the machine's memory and processes that boxes may have together, when nothing else is configured."""
_HIGH = 0.95
"""Above this part of the ceiling boxes are slowed, which shows as pressure before the kernel has to kill one."""
_DAEMON_MEMORY = 64 * MiB
_DAEMON_WEIGHT = 1000
"""The daemon serves every terminal: it gets ten times the CPU time of all boxes together when both want it."""
_SWEEP_SECONDS = 5.0

_numbers = itertools.count(1)

_WAYS_OUT = (
    "run it as a systemd service with Delegate=yes (systemd/runnerd.service), or start with --limits best-effort "
    "(rlimits and a watcher stand in), or --limits auto to take the strongest this host offers"
)


class Ceiling(msgspec.Struct, frozen=True):
    """What all boxes together may have: bytes, cores, processes. 0: a part of what the machine has; all cores."""

    memory: int = 0
    cpus: float = 0.0
    processes: int = 0


class Tree:
    """A delegated cgroup that is ours. See `open_tree`."""

    def __init__(self, root: Path) -> None:
        self.daemon, self.boxes = root / DAEMON, root / BOXES
        self._boxes = os.open(self.boxes, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        self._offered = set(os.listdir(self._boxes))
        self._cores = os.cpu_count() or 1
        self._disks = _disks() if "io.max" in self._offered else ()
        self._mark = _mark(os.getpid())

    def close(self) -> None:
        os.close(self._boxes)

    def leaf(self, spec: BoxSpec) -> Leaf:
        """A new leaf with the box's limits; its name is never used again. Raises BoxError."""
        name = f"{self._mark}-{next(_numbers)}"
        try:
            os.mkdir(name, 0o755, dir_fd=self._boxes)
            try:
                return self._open_leaf(name, spec)
            except BaseException:
                os.rmdir(name, dir_fd=self._boxes)
                raise
        except OSError as problem:
            where = f"{self.boxes / name}{f'/{problem.filename}' if problem.filename else ''}"
            raise BoxError(f"making a box's cgroup: {where}: {problem.strerror} (errno {problem.errno})") from problem

    def _open_leaf(self, name: str, spec: BoxSpec) -> Leaf:
        folder = os.open(name, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=self._boxes)
        try:
            leaf.apply(folder, leaf.settings(spec, self._disks), self._offered)
            return Leaf(self._boxes, name, folder, spec, cores=self._cores, peak="memory.peak" in self._offered)
        except BaseException:
            os.close(folder)
            raise

    def sweep(self) -> int:
        """Kill and remove what daemons that are gone have left in this tree; how many leaves there were."""
        left = [name for name in os.listdir(self._boxes) if (self.boxes / name).is_dir() and not _lives(name)]
        deadline = time.monotonic() + _SWEEP_SECONDS
        for name in left:
            while not _swept(self.boxes / name):
                if time.monotonic() > deadline:
                    log.error("an old box cannot be removed", extra={"leaf": name})
                    break
                time.sleep(0.005)
        return len(left)


def open_tree(ceiling: Ceiling) -> Tree:
    """Take the cgroup that this process was given: move it into a leaf, share the controllers out, sweep.

    Raises SetupError with the reason when there is none, or it is not ours to divide.
    """
    root = find(Path("/proc/self/cgroup").read_text(), Path("/proc/self/mountinfo").read_text())
    try:
        _divide(root, ceiling)
        tree = Tree(root)
    except OSError as problem:
        raise SetupError(
            f"dividing the cgroup {root}: {problem.filename or 'write'}: {problem.strerror} (errno {problem.errno})",
            hint=_WAYS_OUT,
        ) from problem
    if swept := tree.sweep():
        log.warning("removed boxes of a daemon that is gone", extra={"boxes": swept})
    return tree


def find(own: str, mountinfo: str) -> Path:
    """The delegated cgroup, by what /proc/self/cgroup and mountinfo say. Raises SetupError."""
    path, mounts = cgroupfs.own_path(own), cgroupfs.mounts(mountinfo)
    if path is None or not mounts:
        raise SetupError("this host has no cgroup v2 mounted", hint=f"boot without cgroup v1, {_or(_WAYS_OUT)}")
    root = cgroupfs.folder(path, mounts)
    if root is None:
        raise SetupError(f"the cgroup {path} of this process is not below any cgroup2 mount", hint=_WAYS_OUT)
    if root.name == DAEMON:  # a process of a tree that a runnerd has divided already
        root = root.parent
    _refuse_lacking(root, cgroupfs.old_controllers(own))
    if not (root / "cgroup.type").exists():
        raise SetupError(f"this process runs in the host's own root cgroup ({root})", hint=_WAYS_OUT)
    if not _is_delegated(root):
        raise SetupError(f"the cgroup {root} is not delegated: its manager may change it at any time", hint=_WAYS_OUT)
    if not os.access(root, os.W_OK):
        raise SetupError(f"the cgroup {root} cannot be written by this user, or is mounted read-only", hint=_WAYS_OUT)
    return root


def _refuse_lacking(root: Path, old: set[str]) -> None:
    try:
        lacking = cgroupfs.missing(NEEDED, (root / "cgroup.controllers").read_text())
    except OSError as problem:
        raise SetupError(
            f"reading {root}/cgroup.controllers: {problem.strerror} (errno {problem.errno})", hint=_WAYS_OUT
        ) from problem
    if not lacking:
        return
    names = ", ".join(lacking)
    if old & set(lacking):
        raise SetupError(
            f"this is a hybrid host: cgroup v1 has the controllers {names}",
            hint=f"boot with systemd.unified_cgroup_hierarchy=1, {_or(_WAYS_OUT)}",
        )
    raise SetupError(
        f"the cgroup {root} lacks the controllers {names}",
        hint=f"let its manager delegate them (Delegate=cpu memory pids io), {_or(_WAYS_OUT)}",
    )


def _or(text: str) -> str:
    return f"or {text}"


def _is_delegated(root: Path) -> bool:
    """systemd marks what it delegates (from version 251 on so that all may see it). Without a mark: what another
    user's folder holds was given to us, the top of a container's is its own, and root may do as it likes where
    systemd does not."""
    for mark in ("user.delegate", "trusted.delegate"):
        with suppress(OSError):
            return os.getxattr(root, mark) == b"1"
    if os.path.ismount(root):
        return True
    if os.geteuid() != 0:
        return root.stat().st_uid == os.geteuid() != root.parent.stat().st_uid
    return not Path("/run/systemd/system").is_dir()


def _divide(root: Path, ceiling: Ceiling) -> None:
    daemon, boxes = root / DAEMON, root / BOXES
    daemon.mkdir(exist_ok=True)
    boxes.mkdir(exist_ok=True)
    _move(root, daemon)
    for folder in (root, boxes):
        for name in (*NEEDED, "io"):
            try:
                _write(folder / "cgroup.subtree_control", f"+{name}")
            except OSError:
                if name in NEEDED:
                    raise
    _set(daemon, {"memory.min": str(_DAEMON_MEMORY), "cpu.weight": str(_DAEMON_WEIGHT)})
    _set(boxes, ceilings(ceiling, _memory(root), _processes(root), os.cpu_count() or 1))


def ceilings(ceiling: Ceiling, memory: int, processes: int, cores: int) -> dict[str, str]:
    """What is written into `boxes`, on a machine that has so many bytes, processes and cores."""
    most = ceiling.memory or int(memory * SHARE)
    return {
        "memory.high": str(int(most * _HIGH)),
        "memory.max": str(most),
        "memory.swap.max": "0",
        "pids.max": str(ceiling.processes or int(processes * SHARE)),
        "cpu.max": (cgroupfs.cpu_max(ceiling.cpus, cores) if ceiling.cpus else None) or f"max {cgroupfs.PERIOD}",
    }


def _move(root: Path, daemon: Path) -> None:
    """Move all processes out of the tree's top: until they have left, the kernel shares nothing out below it."""
    for _ in range(100):  # a process may fork meanwhile
        pids = (root / "cgroup.procs").read_text().split()
        if not pids:
            return
        for pid in pids:
            with suppress(ProcessLookupError):
                _write(daemon / "cgroup.procs", pid)


def _set(folder: Path, values: dict[str, str]) -> None:
    for name, value in values.items():
        if (folder / name).exists():
            _write(folder / name, value)


def _write(path: Path, text: str) -> None:
    """Raises OSError that names the path."""
    try:
        path.write_text(text)
    except OSError as problem:
        raise OSError(problem.errno, problem.strerror, str(path)) from None


def _memory(root: Path) -> int:
    """Bytes that this tree may have at most."""
    machine = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return min(machine, cgroupfs.size((root / "memory.max").read_text()) or machine)


def _processes(root: Path) -> int:
    machine = min(int(Path(f"/proc/sys/kernel/{name}").read_text()) for name in ("pid_max", "threads-max"))
    return min(machine, cgroupfs.size((root / "pids.max").read_text()) or machine)


def _disks() -> tuple[str, ...]:
    """The machine's disks as MAJOR:MINOR; io.max takes whole ones only."""
    found: list[str] = []
    for block in Path("/sys/block").glob("*/dev"):
        if not block.parent.name.startswith(("loop", "ram", "zram")):
            with suppress(OSError):
                found.append(block.read_text().strip())
    return tuple(sorted(found))


def _mark(pid: int) -> str:
    """A process, told apart from later ones of its number by when it started."""
    return f"{pid}-{_started(pid)}"


def _lives(name: str) -> bool:
    """Whether the daemon that made a leaf still runs."""
    pid, _, rest = name.partition("-")
    started = rest.partition("-")[0]
    return pid.isdecimal() and str(_started(int(pid))) == started


def _started(pid: int) -> int:
    """When a process started, in the kernel's ticks; 0 when there is none."""
    proc = os.open("/proc", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        found = procfs.stat(proc, pid)
    finally:
        os.close(proc)
    return found.started if found is not None else 0


def _swept(folder: Path) -> bool:
    try:
        _write(folder / "cgroup.kill", "1")
        folder.rmdir()
    except FileNotFoundError:
        return True
    except OSError:
        return False
    return True
