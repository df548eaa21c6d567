"""What a session is asked to run, and what it was granted. Values only."""

import math

import msgspec

from runnerd.config import Profile
from runnerd.errors import BadRequest
from runnerd.sandbox.spec import Limits, Mode, Window
from runnerd.toolchains import Toolchain

PATH = "/opt/runnerd/bin:/usr/local/bin:/usr/bin:/bin"
_TERM: dict[Mode, str] = {"terminal": "xterm-256color", "split": "dumb", "pipes": "dumb"}


class Run(msgspec.Struct, frozen=True):
    """`files` by a language's toolchain, or `argv` as it is when given (then `language` may be "").

    `stdin`, when given, is fed to the program and its input then closed. `limits` are wishes by the names of Limits:
    only what is lower than the profile's is granted.
    """

    language: str = ""
    files: dict[str, bytes] = msgspec.field(default_factory=dict[str, bytes])
    main: str | None = None
    args: tuple[str, ...] = ()
    argv: tuple[str, ...] | None = None
    env: dict[str, str] = msgspec.field(default_factory=dict[str, str])
    mode: Mode = "terminal"
    window: Window = msgspec.field(default_factory=Window)
    stdin: bytes | None = None
    limits: dict[str, float] = msgspec.field(default_factory=dict[str, float])


def check(run: Run) -> None:
    """Raises BadRequest for what no box could start."""
    for name, value in run.env.items():
        if not name or "=" in name or "\0" in name + value:
            raise BadRequest(f"env: {name!r} cannot be a variable: names have no '=', and nothing has a NUL")
    for what, words in (("args", run.args), ("argv", run.argv or ())):
        if any("\0" in word for word in words):
            raise BadRequest(f"{what}: a NUL cannot be part of an argument")
    if run.argv is not None and not (run.argv and run.argv[0]):
        raise BadRequest("argv: it must name a program")
    if not (1 <= run.window.rows <= 0xFFFF and 1 <= run.window.cols <= 0xFFFF):
        raise BadRequest(f"window: {run.window.rows} x {run.window.cols} is not between 1 and 65535")


def environment(run: Run, own: dict[str, str], home: str) -> dict[str, str]:
    """The program's whole environment: the box's, the toolchain's `own`, the client's; later ones win."""
    return {
        "PATH": PATH,
        "HOME": home,
        "USER": "runner",
        "LOGNAME": "runner",
        "LANG": "C.UTF-8",
        "TERM": _TERM[run.mode],
        **own,
        **run.env,
    }


def grant(profile: Profile, wishes: dict[str, float], toolchain: Toolchain | None) -> Limits:
    """The profile's limits, lowered by wishes, but not below what the toolchain cannot live without.

    Raises BadRequest for a wish that names no limit, or is not positive.
    """
    names = Limits.__struct_fields__
    limits = Limits(**{name: getattr(profile, name) for name in names})
    granted: dict[str, float] = {}
    for name, wish in wishes.items():
        if name not in names:
            raise BadRequest(f"limits.{name}: no such limit", hint=f"limits are: {', '.join(names)}")
        if not 0 < wish < math.inf:
            raise BadRequest(f"limits.{name}: {wish} is not a positive number")
        most: float | int = getattr(limits, name)
        lower = wish if isinstance(most, float) else max(1, int(wish))
        granted[name] = min(lower, most or math.inf)
    if toolchain is not None:
        for name, least in toolchain.raises.items():
            have: float = granted[name] if name in granted else getattr(limits, name)
            granted[name] = max(have, least) if have else have
    return msgspec.structs.replace(limits, **granted)  # type: ignore[arg-type]
