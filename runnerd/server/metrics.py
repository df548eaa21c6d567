"""Counts for operators, in Prometheus' text format."""

from collections.abc import Iterable
from typing import Literal

import msgspec


class Metric(msgspec.Struct, frozen=True):
    name: str
    kind: Literal["gauge", "counter"]
    help: str
    value: float
    labels: dict[str, str] = msgspec.field(default_factory=dict[str, str])


def render(metrics: Iterable[Metric]) -> str:
    """Prometheus' exposition format, version 0.0.4. Metrics of one name come together; label values are plain words."""
    lines: list[str] = []
    described = ""
    for metric in metrics:
        name = f"runnerd_{metric.name}"
        if name != described:
            lines += [f"# HELP {name} {metric.help}", f"# TYPE {name} {metric.kind}"]
            described = name
        labels = ",".join(f'{key}="{value}"' for key, value in metric.labels.items())
        lines.append(f"{name}{{{labels}}} {metric.value:.17g}" if labels else f"{name} {metric.value:.17g}")
    return "\n".join(lines) + "\n"
