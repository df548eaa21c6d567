"""A compiled hello: a source never seen, and one that was compiled just before, against the host's compiler."""

import secrets
from collections.abc import Sequence

from runnerd.bench import host
from runnerd.bench.daemon import serving
from runnerd.bench.hello import bare, boxed
from runnerd.bench.results import Series
from runnerd.bench.scenario import Setting
from runnerd.bench.turns import take_turns

CACHE = "[cache]\nshared = true\n"
"""The bench has no key, and without one nothing is kept by default."""


def measure(setting: Setting, language: str, compiler: str, name: str, hello: str) -> Sequence[Series]:
    """`name` is the file's on the host. Raises Missing."""
    host.program(compiler, f"apt-get install {compiler}")
    folder = setting.file(name, hello).parent
    command = ["sh", "-c", f"cd {folder} && {compiler} {name} && ./a.out"]
    source = hello

    def another() -> str:
        nonlocal source
        source = f'{hello}const char *const text = "{secrets.token_hex()}";\n'
        return source

    with serving(setting.subfolder("daemon"), setting.limits, CACHE) as daemon, daemon.connect() as connection:
        turns = [
            boxed(daemon, connection, language, another, "runnerd new"),
            boxed(daemon, connection, language, lambda: source, "runnerd same"),
            bare(f"{compiler} && ./a.out", command),
        ]
        return take_turns(turns, setting.effort.some(0.5), warm_up=1)
