"""Where the data that the package reads lies: inside an installed package, or in the source tree."""

from pathlib import Path

_PACKAGE = Path(__file__).parent
_SOURCE = {"web": "web/dist"}


def folder(name: str) -> Path:
    """The folder `seccomp`, `toolchains`, `filters` or `web`. It may be missing: `web` until the page was built."""
    installed = _PACKAGE / "data" / name
    return installed if installed.is_dir() else _PACKAGE.parent / _SOURCE.get(name, name)
