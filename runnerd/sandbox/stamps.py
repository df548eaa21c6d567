"""Whether files of the host are still what they were."""

import os
import stat
from collections.abc import Iterable

Stamp = tuple[int, int]
"""Size in bytes (0 of a folder, whose size tells nothing) and mtime in nanoseconds; (-1, errno) where there is none."""


def stamp(path: str) -> Stamp:
    """What changes when a file is replaced or written, or a name comes into or leaves a folder."""
    try:
        found = os.stat(path)
    except OSError as problem:
        return -1, problem.errno or 0
    return 0 if stat.S_ISDIR(found.st_mode) else found.st_size, found.st_mtime_ns


def stamps(paths: Iterable[str]) -> dict[str, Stamp]:
    return {path: stamp(path) for path in paths}
