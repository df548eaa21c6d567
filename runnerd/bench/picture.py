"""A report as a picture: for each scenario, which part of the samples was at most so much. SVG by hand; pure.

The axis of values is logarithmic, since what is compared often differs tenfold. Colours follow the reader's light or
dark scheme.
"""

import math
from collections.abc import Iterable, Sequence
from html import escape
from itertools import accumulate

from runnerd.bench.results import Report, Series
from runnerd.bench.tables import amount

WIDTH, LEFT, RIGHT = 860, 50, 250
HEIGHT, TOP, BOTTOM = 190, 34, 26
"""Of one panel, and what surrounds its plot, in pixels; the right margin holds the legend."""
ROW = 16
"""Of the legend, in pixels."""
POINTS = 200
"""Of a line, at most."""
LEVELS = (0.0, 0.5, 0.95)
NARROWEST = 3.0
"""The axis of values reaches from one to at least so many times as much: then some of it is marked."""
XMLNS = "http://www.w3.org/2000/svg"

LIGHT = ("#0072b2", "#d55e00", "#00825f", "#b0468a", "#8a6d00", "#3b8bb5", "#555555", "#7a3fb0")
DARK = ("#56b4e9", "#ff9045", "#2fc79a", "#e58bc4", "#e0c341", "#9ad0f0", "#bbbbbb", "#b98ae6")
"""Lines, after Okabe and Ito: told apart by colour-blind eyes as well."""

STYLE = f"""\
svg {{ background: #fff; font: 12px system-ui, sans-serif; }}
text {{ fill: #222; }} .axis {{ stroke: #ccc; }} .faint {{ fill: #666; }} polyline {{ fill: none; stroke-width: 1.8; }}
.again {{ stroke-dasharray: 5 3; }}
{" ".join(f".c{number} {{ stroke: {colour}; }}" for number, colour in enumerate(LIGHT))}
@media (prefers-color-scheme: dark) {{
svg {{ background: #16181c; }} text {{ fill: #e6e6e6; }} .axis {{ stroke: #444; }} .faint {{ fill: #aaa; }}
{" ".join(f".c{number} {{ stroke: {colour}; }}" for number, colour in enumerate(DARK))}
}}"""


def picture(report: Report) -> str:
    """An SVG document with a panel for each scenario, and for each unit in it."""
    panels = [
        (result.scenario, [each for each in result.series if each.unit == unit and max(each.samples, default=0) > 0])
        for result in report.results
        for unit in dict.fromkeys(each.unit for each in result.series)
    ]
    drawn = [(title, series) for title, series in panels if series]
    tops = [0, *accumulate(max(HEIGHT, TOP + ROW * len(series)) for _, series in drawn)]
    body = (_panel(title, series, top) for (title, series), top in zip(drawn, tops, strict=False))
    return "\n".join(
        [
            f'<svg xmlns="{XMLNS}" viewBox="0 0 {WIDTH} {tops[-1]}" width="{WIDTH}" height="{tops[-1]}">',
            f"<title>runnerd bench, {escape(report.date)}</title>",
            f"<style>\n{STYLE}\n</style>",
            *body,
            "</svg>\n",
        ]
    )


def ticks(low: float, high: float) -> list[float]:
    """Values to mark on a logarithmic axis from `low` to `high`, both above 0: 1, 2 and 5 times powers of ten, or
    powers of ten alone where that would be many."""
    powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    steps = (1, 2, 5) if len(powers) <= 4 else (1,)
    return [value for power in powers for step in steps if low <= (value := step * 10.0**power) <= high]


def steps(samples: Sequence[float]) -> list[tuple[float, float]]:
    """Points (value, part of the samples that it is at least), rising; all samples, or so many quantiles of them."""
    values = sorted(samples)
    count = len(values)
    ranks = range(1, count + 1) if count <= POINTS else [round(count * n / POINTS) for n in range(1, POINTS + 1)]
    return [(values[rank - 1], rank / count) for rank in ranks]


def _panel(title: str, series: Sequence[Series], top: int) -> str:
    positive = [value for each in series for value in each.samples if value > 0]
    low, high = min(positive), max(positive)
    # A little room, so that a line along the border is seen.
    room = max(1.15, math.sqrt(NARROWEST * low / high))
    low, high = low / room, high * room
    plot_width, plot_height = WIDTH - LEFT - RIGHT, HEIGHT - TOP - BOTTOM
    right = LEFT + plot_width

    def x(value: float) -> float:
        return LEFT + plot_width * math.log(max(value, low) / low) / math.log(high / low)

    def y(part: float) -> float:
        return top + TOP + plot_height * (1 - part)

    lines = [f'<text x="{LEFT}" y="{top + 20}" font-weight="bold">{escape(title)}</text>']
    for level in (*LEVELS, 1.0):
        lines.append(f'<line class="axis" x1="{LEFT}" x2="{right}" y1="{y(level):.1f}" y2="{y(level):.1f}"/>')
    for level in LEVELS:
        lines.append(
            f'<text class="faint" x="{LEFT - 6}" y="{y(level) + 4:.1f}" text-anchor="end">{level * 100:.0f} %</text>'
        )
    for value in ticks(low, high):
        lines.append(
            f'<line class="axis" x1="{x(value):.1f}" x2="{x(value):.1f}" y1="{y(0):.1f}" y2="{y(1):.1f}"/>'
            f'<text class="faint" x="{x(value):.1f}" y="{y(0) + 16:.1f}" text-anchor="middle">'
            f"{_mark(value, series[0])}</text>"
        )
    for number, each in enumerate(series):
        lines += _line(each, number, ((x(value), y(part)) for value, part in steps(each.samples)), y(0), y(1))
    return "\n".join(lines)


def _mark(value: float, series: Series) -> str:
    """A round value, without its zeros."""
    return escape(amount(value, series.unit).replace(".00 ", " ").replace(".0 ", " "))


def _line(
    series: Series, number: int, points: Iterable[tuple[float, float]], bottom: float, top: float
) -> Iterable[str]:
    """The steps of one series, and its place in the legend."""
    colour = f"c{number % len(LIGHT)}" + (" again" if number >= len(LIGHT) else "")
    path: list[str] = []
    last = bottom
    for at, level in points:
        path += [f"{at:.1f},{last:.1f}", f"{at:.1f},{level:.1f}"]
        last = level
    yield f'<polyline class="{colour}" points="{" ".join(path)}"/>'
    left, height = WIDTH - RIGHT + 16, top + 6 + ROW * number
    yield f'<polyline class="{colour}" points="{left},{height} {left + 18},{height}"/>'
    label = f"{series.name}: {amount(series.quantile(0.5), series.unit)}"
    yield f'<text x="{left + 24}" y="{height + 4}">{escape(label)}</text>'
