"""C says hello."""

from collections.abc import Sequence

from runnerd.bench import compiled
from runnerd.bench.results import Aim, Series
from runnerd.bench.scenario import Setting

ABOUT = "C hello, a new source each time and the same again, against host `gcc hello.c && ./a.out`"
AIMS = (
    Aim("new source, exit frame / gcc && ./a.out", "runnerd new, exit", "gcc && ./a.out, exit", aim=1),
    Aim("same source, exit frame / gcc && ./a.out", "runnerd same, exit", "gcc && ./a.out, exit", aim=1),
)
HELLO = '#include <stdio.h>\nint main(void) { puts("hello"); }\n'


def measure(setting: Setting) -> Sequence[Series]:
    return compiled.measure(setting, "c", "gcc", "hello.c", HELLO)
