"""Node says hello."""

from collections.abc import Sequence

from runnerd.bench import host
from runnerd.bench.daemon import serving
from runnerd.bench.hello import bare, boxed
from runnerd.bench.results import Aim, Series
from runnerd.bench.scenario import Setting
from runnerd.bench.turns import take_turns

ABOUT = "Node hello, warm, against host `node hello.js` by the same node"
AIMS = (
    Aim("first byte / node", "runnerd, first byte", "node, exit", aim=0.15),
    Aim("exit frame / node", "runnerd, exit", "node, exit"),
)
HELLO = "console.log('hello')\n"


def measure(setting: Setting) -> Sequence[Series]:
    command = [host.node(), str(setting.file("hello.js", HELLO))]
    with serving(setting.subfolder("daemon"), setting.limits) as daemon, daemon.connect() as connection:
        turns = [boxed(daemon, connection, "javascript", lambda: HELLO), bare("node", command)]
        return take_turns(turns, setting.effort.runs, warm_up=4)
