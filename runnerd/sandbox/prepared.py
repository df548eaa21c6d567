"""Files that toolchains had made ahead on this host, such as precompiled headers: found here, made by prepare.py.

They lie in folders of their own below the state folder, each with a manifest of what it was made by and of. When any of
that is other now, the folder is as good as missing: compiling goes on without, only slower.
"""

import hashlib
import time
from pathlib import Path

import msgspec

from runnerd.resources import folder
from runnerd.sandbox.recipe import INIT
from runnerd.sandbox.stamps import Stamp, stamps
from runnerd.toolchains import Toolchain

PLACE = "/opt/prepared"
"""Where a box sees its toolchain's, read-only."""

FILES, MANIFEST = "files", "manifest.json"

LOOK = 2.0
"""Seconds for which a folder that was found fresh is taken for fresh: to look takes about a millisecond."""

_SUPPORT = f"{Path(INIT).parent}/support/"


class Manifest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`command` is `digest` of the toolchain; `inputs` are all files it was made of, as they were."""

    command: str
    inputs: dict[str, Stamp]


class Prepared:
    """What is prepared in these folders; the first that has it fresh counts."""

    def __init__(self, *bases: Path) -> None:
        self._bases = bases
        self._found: dict[str, tuple[float, Path | None]] = {}

    def binds(self, toolchain: Toolchain) -> tuple[tuple[str, str], ...]:
        """(host path, path in the box) of what is there for a toolchain and not stale; nothing otherwise."""
        found = self.find(toolchain)
        return ((str(found / FILES), PLACE),) if found is not None else ()

    def find(self, toolchain: Toolchain) -> Path | None:
        """The folder of what is prepared, as it was at most LOOK seconds ago."""
        if toolchain.prepare is None:
            return None
        looked, found = self._found.get(toolchain.id, (-LOOK, None))
        now = time.monotonic()
        if now - looked >= LOOK:
            every = (each for base in self._bases for each in folders(base, toolchain))
            found = next((each for each in every if _fresh(each, digest(toolchain))), None)
            self._found[toolchain.id] = now, found
        return found


def folders(base: Path, toolchain: Toolchain) -> list[Path]:
    """All that were ever prepared for it and are there still."""
    return sorted(base.glob(f"{toolchain.id}-{'[0-9a-f]' * 16}"))


def digest(toolchain: Toolchain) -> str:
    """Of the command that prepares, with the support files that it names."""
    whole = hashlib.sha256()
    for word in toolchain.prepare or ():
        whole.update(word.encode() + b"\0")
        if word.startswith(_SUPPORT):
            whole.update((folder("toolchains") / "support" / word.removeprefix(_SUPPORT)).read_bytes())
    return whole.hexdigest()


def _fresh(found: Path, command: str) -> bool:
    try:
        manifest = msgspec.json.decode((found / MANIFEST).read_bytes(), type=Manifest)
    except (OSError, msgspec.DecodeError):
        return False
    return manifest.command == command and stamps(manifest.inputs) == manifest.inputs
