"""Java says hello, compiled each time."""

import itertools
from collections.abc import Sequence

from runnerd.bench import host
from runnerd.bench.daemon import serving
from runnerd.bench.hello import bare, boxed
from runnerd.bench.results import Aim, Series
from runnerd.bench.scenario import Setting
from runnerd.bench.turns import take_turns

ABOUT = "Java hello, warm, against host `javac Main.java && java Main`"
AIMS = (
    Aim("first byte / javac && java", "runnerd, first byte", "javac && java, exit", aim=0.25),
    Aim("exit frame / javac && java", "runnerd, exit", "javac && java, exit"),
)
HELLO = 'public class Main { public static void main(String[] args) { System.out.println("hello"); } }\n'


def measure(setting: Setting) -> Sequence[Series]:
    host.program("javac", "apt-get install default-jdk-headless")
    folder = setting.file("Main.java", HELLO).parent
    command = ["sh", "-c", f"cd {folder} && javac Main.java && java Main"]
    numbers = itertools.count()
    with serving(setting.subfolder("daemon"), setting.limits) as daemon, daemon.connect() as connection:
        # No two sources are alike: what a cache of compiled programs would do is another question.
        ours = boxed(daemon, connection, "java", lambda: f"{HELLO}// {next(numbers)}\n")
        return take_turns([ours, bare("javac && java", command)], setting.effort.some(0.5), warm_up=1)
