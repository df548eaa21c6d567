"""C++ says hello by <iostream>: a source that was never seen, and one that was compiled just before."""

import secrets
from collections.abc import Sequence

from runnerd.bench import host
from runnerd.bench.daemon import serving
from runnerd.bench.hello import bare, boxed
from runnerd.bench.results import Aim, Series
from runnerd.bench.scenario import Setting
from runnerd.bench.turns import take_turns

ABOUT = "C++ <iostream> hello, a new source each time and the same again, against host `g++ hello.cpp && ./a.out`"
AIMS = (
    Aim("new source, exit frame / g++ && ./a.out", "runnerd new, exit", "g++ && ./a.out, exit", aim=0.5),
    Aim("same source, exit frame / g++ && ./a.out", "runnerd same, exit", "g++ && ./a.out, exit", aim=0.03),
)
HELLO = '#include <iostream>\nint main() { std::cout << "hello" << std::endl; }\n'

CACHE = "[cache]\nshared = true\n"
"""The bench has no key, and without one nothing is kept by default."""


def measure(setting: Setting) -> Sequence[Series]:
    host.program("g++", "apt-get install g++")
    folder = setting.file("hello.cpp", HELLO).parent
    command = ["sh", "-c", f"cd {folder} && g++ hello.cpp && ./a.out"]
    source = HELLO

    def another() -> str:
        nonlocal source
        source = f'{HELLO}const char *const text = "{secrets.token_hex()}";\n'
        return source

    with serving(setting.subfolder("daemon"), setting.limits, CACHE) as daemon, daemon.connect() as connection:
        turns = [
            boxed(daemon, connection, "cpp", another, "runnerd new"),
            boxed(daemon, connection, "cpp", lambda: source, "runnerd same"),
            bare("g++ && ./a.out", command),
        ]
        return take_turns(turns, setting.effort.some(0.5), warm_up=1)
