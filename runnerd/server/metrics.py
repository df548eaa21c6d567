"""Counts for operators, in Prometheus' text format."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, slots=True)
class Metric:
    name: str
    kind: Literal["gauge", "counter"]
    help: str
    value: float


def render(metrics: Iterable[Metric]) -> str:
    """Prometheus' exposition format, version 0.0.4."""
    lines: list[str] = []
    for metric in metrics:
        name = f"runnerd_{metric.name}"
        lines += [f"# HELP {name} {metric.help}", f"# TYPE {name} {metric.kind}", f"{name} {metric.value:g}"]
    return "\n".join(lines) + "\n"
