"""What the daemon tells of itself: its languages, and counts for Prometheus."""

from collections.abc import Iterable, Iterator
from typing import Literal

from runnerd.server.listener import Listener
from runnerd.server.metrics import Metric
from runnerd.server.site import Language
from runnerd.session.registry import Status
from runnerd.session.space import Space
from runnerd.toolchains import Toolchains

POOL: tuple[tuple[str, Literal["gauge", "counter"], str], ...] = (
    ("idle", "gauge", "Boxes that wait for a run."),
    ("wanted", "gauge", "Boxes that should wait."),
    ("hits_total", "counter", "Runs that found a waiting box."),
    ("misses_total", "counter", "Runs that found none."),
    ("discarded_total", "counter", "Boxes that were thrown away unused."),
)

SPACES: tuple[tuple[str, str, str], ...] = (
    ("members", "members", "Connections in spaces."),
    ("programs", "programs", "Programs in the shared terminals of spaces."),
    ("terminals", "terminals", "Other terminals of spaces."),
    ("memory_bytes", "memory", "The most that each live space has used so far, in all."),
    ("cpu_seconds", "cpu", "CPU time of live spaces."),
)
"""(metric, field of SpaceStatus, help). Sums: a label for each space would be a new series for each."""


def languages(toolchains: Toolchains) -> list[Language]:
    """All of them, each with what this host lacks of it at the moment."""
    return [
        Language(
            id=toolchain.id,
            name=toolchain.name,
            aliases=toolchain.aliases,
            source=toolchain.source,
            sample={"code": toolchain.sample.code, "input": toolchain.sample.input},
            available=not missing,
            missing=[{"program": need.program, "package": need.package} for need in missing],
        )
        for toolchain in toolchains.all()
        for missing in [toolchains.missing(toolchain)]
    ]


def metrics(status: Status, spaces: Iterable[Space], listener: Listener) -> Iterator[Metric]:
    yield Metric("boxes", "gauge", "Live boxes.", status.boxes)
    yield Metric("boxes_max", "gauge", "Boxes that may live at a time.", status.boxes_max)
    yield Metric("queue", "gauge", "Runs that wait for a box.", status.queued)
    yield Metric("sessions_started_total", "counter", "Sessions that were started.", status.started)
    for outcome, count in status.ended.items():
        yield Metric("sessions_ended_total", "counter", "Sessions that ended.", count, {"outcome": outcome})
    yield Metric("compilations_total", "counter", "Compile steps that could be kept and were run.", status.compiled)
    yield Metric("compilations_spared_total", "counter", "Compile steps whose products were kept.", status.spared)
    living = [space.status() for space in spaces]
    yield Metric("spaces", "gauge", "Live spaces.", len(living))
    for name, field, help in SPACES:
        yield Metric(f"space_{name}", "gauge", help, sum(getattr(each, field) for each in living))
    for name, kind, help in POOL:
        for stock in status.stocks:
            labels = {"language": stock.language, "profile": stock.profile, "mode": stock.mode}
            yield Metric(f"pool_{name}", kind, help, getattr(stock, name.removesuffix("_total")), labels)
    yield Metric("connections", "gauge", "Open connections.", listener.open)
    yield Metric("connections_total", "counter", "Connections that were accepted.", listener.accepted)
    yield Metric("connections_refused_total", "counter", "Connections beyond the maximum.", listener.refused)
    yield Metric("draining", "gauge", "1 while the daemon stops.", status.draining)
