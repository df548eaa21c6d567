"""A root daemon's private mounts, through which boxes see folders that only root could reach."""

import os
import stat
from pathlib import Path

from runnerd.errors import SetupError
from runnerd.sandbox._native import ffi, lib


def private(base: Path) -> None:
    """Leave the host's mount namespace and put an empty tmpfs on `base`, seen by this process and its boxes alone.

    Affects the calling thread and those it starts later. Raises SetupError.
    """
    base.mkdir(mode=0o755, exist_ok=True)
    _check(lib.runnerd_private_mounts(), "leaving the host's mount namespace", base)
    _check(lib.runnerd_mount_tmpfs(os.fsencode(base)), "mounting a tmpfs", base)


def scratch(path: Path) -> None:
    """Put an empty tmpfs on `path` that every uid can make folders in; seen by this process and its boxes' builders
    alone, once `private` was called. Raises SetupError."""
    path.mkdir(mode=0o755, exist_ok=True)
    _check(lib.runnerd_mount_tmpfs(os.fsencode(path)), "mounting a tmpfs", path)
    path.chmod(0o1777)


class Shown:
    """Makes host paths readable to box uids: folders by a mount below `base` that does not tell their path, files by a
    bind there when some folder above is closed.

    With base None (the daemon is not root) boxes run under its own uid and can read what it can.
    """

    def __init__(self, base: Path | None) -> None:
        self._base = base
        self._shown: dict[str, str] = {}

    def readable(self, path: str) -> str:
        """A path of the same file or folder that any uid can reach. Raises SetupError when it does not exist."""
        if self._base is None:
            return path
        if path not in self._shown:
            self._shown[path] = self._show(Path(path), self._base / str(len(self._shown)))
        return self._shown[path]

    def _show(self, source: Path, target: Path) -> str:
        try:
            source = source.resolve(strict=True)
        except OSError as problem:
            raise SetupError(
                f"showing {source} to boxes: {problem.strerror} (errno {problem.errno})",
                hint="the toolchain's file names this path in `binds`",
            ) from problem
        reachable = all(os.stat(folder).st_mode & stat.S_IXOTH for folder in source.parents)
        if reachable and not source.is_dir():
            return str(source)
        target.parent.mkdir(exist_ok=True)
        if source.is_dir():
            target.mkdir()
            if self._overlay(source, target):
                return str(target)
        else:
            target.touch()
        if reachable:
            return str(source)
        result = lib.runnerd_bind(os.fsencode(source), os.fsencode(target))
        _check(result, f"binding {source}", target)
        return str(target)

    def _overlay(self, source: Path, target: Path) -> bool:
        """Show the folder by a mount that does not say where it comes from, as a bind's does in /proc/self/mountinfo of
        every box. False where this kernel has no overlayfs."""
        bound, empty = target.with_name(f"{target.name}-bound"), target.with_name("empty")
        for folder in (bound, empty):
            folder.mkdir(exist_ok=True)
        _check(lib.runnerd_bind(os.fsencode(source), os.fsencode(bound)), f"binding {source}", bound)
        return lib.runnerd_overlay(f"lowerdir={bound}:{empty}".encode(), os.fsencode(target)) == 0


def _check(result: int, step: str, path: Path) -> None:
    if result < 0:
        raise SetupError(
            f"{step} ({path}): {os.strerror(ffi.errno)} (errno {ffi.errno})",
            hint="a root daemon needs CAP_SYS_ADMIN; run it as an ordinary user instead, or grant it",
        )
