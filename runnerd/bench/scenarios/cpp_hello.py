"""C++ says hello by <iostream>."""

from collections.abc import Sequence

from runnerd.bench import compiled
from runnerd.bench.results import Aim, Series
from runnerd.bench.scenario import Setting

ABOUT = "C++ <iostream> hello, a new source each time and the same again, against host `g++ hello.cpp && ./a.out`"
AIMS = (
    Aim("new source, exit frame / g++ && ./a.out", "runnerd new, exit", "g++ && ./a.out, exit", aim=0.5),
    Aim("same source, exit frame / g++ && ./a.out", "runnerd same, exit", "g++ && ./a.out, exit", aim=0.03),
)
HELLO = '#include <iostream>\nint main() { std::cout << "hello" << std::endl; }\n'


def measure(setting: Setting) -> Sequence[Series]:
    return compiled.measure(setting, "cpp", "g++", "hello.cpp", HELLO)
