"""A report as text: for a terminal, and for docs/performance.md. Pure."""

from collections.abc import Iterable, Sequence

from runnerd.bench.results import Aim, Figure, Machine, Report, Result, Series

BEGIN, END = "<!-- bench: begin -->", "<!-- bench: end -->"
"""Between them a document has the tables of a report."""

_SCALES: dict[str, tuple[tuple[float, str], ...]] = {
    "s": ((1, "s"), (1e-3, "ms"), (1e-6, "us")),
    "B": ((1e6, "MB"), (1e3, "kB"), (1, "B")),
    "B/s": ((1e6, "MB/s"), (1e3, "kB/s"), (1, "B/s")),
    "1/s": ((1, "/s"),),
    "": ((1, ""),),
}


def amount(value: float, unit: str) -> str:
    """Three digits, in the unit's multiple that suits them: `1.25 ms`."""
    scales = _SCALES[unit]
    scale, name = next((each for each in scales if abs(value) >= each[0]), scales[-1])
    return f"{_digits(value / scale)} {name}".rstrip()


def _digits(value: float) -> str:
    if abs(value) >= 100:
        return f"{value:.0f}"
    return f"{value:.1f}" if abs(value) >= 10 else f"{value:.2f}" if abs(value) >= 1 else f"{value:.3f}"


def shown(result: Result) -> str:
    """One result on a terminal."""
    lines = [f"{result.scenario}: {result.about}"]
    if result.series:
        rows = [("", "p50", "p95", "p99", "n"), *map(_quantiles, result.series)]
        lines += _aligned(rows)
    if result.figures:
        lines += _aligned([("", "reached", "aim", ""), *map(_figure, result.figures)])
    lines += [f"  left out: {what}" for what in result.left_out]
    if result.failed:
        lines.append(f"  FAILED: {result.failed}")
    return "\n".join(lines)


def where(machine: Machine) -> str:
    """One line."""
    return (
        f"{machine.processor}, {machine.cores} cores, {amount(machine.memory, 'B')}, {machine.system}, "
        f"Linux {machine.kernel}, Python {machine.python}, load {machine.load:g}"
    )


def markdown(report: Report, aims: Sequence[tuple[str, Sequence[Aim]]]) -> str:
    """What was hoped for and reached, of all scenarios; then what was measured, and what was left out."""
    results = {each.scenario: each for each in report.results}
    lines = [f"{report.date}, runnerd {report.version}, limits {report.limits}. {where(report.machine)}.", ""]
    lines += ["| scenario | ratio or figure | aim | reached | |", "| --- | --- | --- | --- | --- |"]
    for scenario, wanted in aims:
        figures = {each.name: each for each in results[scenario].figures} if scenario in results else {}
        for aim in wanted:
            cells = _reached(figures[aim.name]) if aim.name in figures else ("", "–", "not measured")
            lines.append(f"| {scenario} | {aim.name} | {' | '.join(cells)} |")
    lines += ["", "| scenario | measured | p50 | p95 | p99 | samples |", "| --- | --- | --- | --- | --- | --- |"]
    lines += [f"| {one.scenario} | {' | '.join(_quantiles(each))} |" for one in report.results for each in one.series]
    notes = [f"- {one.scenario}: {what}" for one in report.results for what in (*one.left_out, one.failed) if what]
    return "\n".join([*lines, *(["", "Left out:", "", *notes] if notes else [])])


def inserted(document: str, text: str) -> str:
    """The document with this between its two marks. Raises ValueError when it has no such marks."""
    begin, end = document.index(BEGIN) + len(BEGIN), document.index(END)
    return f"{document[:begin]}\n{text}\n{document[end:]}"


def _quantiles(series: Series) -> tuple[str, ...]:
    told = (amount(series.quantile(at), series.unit) if series.samples else "–" for at in (0.5, 0.95, 0.99))
    return series.name, *told, str(len(series.samples))


def _figure(figure: Figure) -> tuple[str, ...]:
    aim, reached, verdict = _reached(figure)
    return figure.name, reached, aim, verdict


def _reached(figure: Figure) -> tuple[str, str, str]:
    """Aim, value and verdict."""
    hoped = "" if figure.aim is None else f"{'≥' if figure.least else '≤'} {amount(figure.aim, figure.unit)}"
    verdict = {True: "met", False: "not met", None: ""}[figure.met()]
    return hoped, amount(figure.value, figure.unit), verdict


def _aligned(rows: Iterable[tuple[str, ...]]) -> list[str]:
    """Columns as wide as they need to be: the first to the left, the others to the right."""
    table = list(rows)
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    return [
        "  " + "  ".join([row[0].ljust(widths[0]), *(map(str.rjust, row[1:], widths[1:]))]).rstrip() for row in table
    ]
