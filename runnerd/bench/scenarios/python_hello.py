"""Python says hello, over WebSocket and at the host's own shell, and in whatever else could hold it."""

from collections.abc import Sequence

from runnerd.bench import host
from runnerd.bench.daemon import serving
from runnerd.bench.hello import bare, boxed
from runnerd.bench.results import Aim, Series
from runnerd.bench.scenario import Setting
from runnerd.bench.turns import take_turns

ABOUT = "Python hello: message sent to first byte and exit frame, warm and cold, against host `python3 hello.py`"
AIMS = (
    Aim("first byte / python3", "runnerd, first byte", "python3, exit", aim=0.15),
    Aim("exit frame / python3", "runnerd, exit", "python3, exit", aim=0.40),
    Aim("cold, first byte / python3's first byte", "runnerd cold, first byte", "python3, first byte", aim=1.8),
    Aim("exit frame / bubblewrap", "runnerd, exit", "bubblewrap, exit"),
    Aim("exit frame / nsjail", "runnerd, exit", "nsjail, exit"),
    Aim("exit frame / docker", "runnerd, exit", "docker, exit"),
)
HELLO = "print('hello')\n"
AROUND = {"bubblewrap": host.bubblewrap, "nsjail": host.nsjail, "docker": host.docker}
COLD = "[pool]\nceiling = 0\nahead = []\n"


def measure(setting: Setting) -> Sequence[Series]:
    command = [host.PYTHON, str(setting.file("hello.py", HELLO))]
    turns = [bare("python3", command)]
    for name, around in AROUND.items():
        if boxed_by := setting.peer(name, lambda around=around: host.tried(around(setting.folder, command))):
            turns.append(bare(name, boxed_by))
    with (
        serving(setting.subfolder("warm"), setting.limits) as warm,
        serving(setting.subfolder("cold"), setting.limits, COLD) as cold,
        warm.connect() as to_warm,
        cold.connect() as to_cold,
    ):
        turns = [
            boxed(warm, to_warm, "python", lambda: HELLO),
            boxed(cold, to_cold, "python", lambda: HELLO, "runnerd cold"),
            *turns,
        ]
        return take_turns(turns, setting.effort.runs, warm_up=5)
