"""The daemon's own start."""

from collections.abc import Mapping, Sequence

from runnerd.bench.daemon import serving
from runnerd.bench.results import Aim, Series
from runnerd.bench.scenario import Setting
from runnerd.bench.turns import take_turns

ABOUT = "The daemon, from its start until /readyz answers 200"
AIMS = (Aim("to /readyz", "runnerd", aim=0.4),)


def measure(setting: Setting) -> Sequence[Series]:
    folder = setting.subfolder("daemon")

    def turn() -> Mapping[str, float]:
        with serving(folder, setting.limits) as daemon:
            return {"runnerd": daemon.ready}

    return take_turns([turn], setting.effort.some(0.2), warm_up=1)
