"""`runnerd bench`: a daemon of its own, side by side with what else this host has."""

import argparse
import os
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from runnerd.cli.options import Subparsers, add_limits
from runnerd.errors import BadRequest, SetupError

if TYPE_CHECKING:
    from runnerd.bench.results import Report, Result

T = TypeVar("T")

OUTPUTS = ("json", "svg", "markdown", "record")


def add_parser(subparsers: Subparsers) -> None:
    parser = subparsers.add_parser(
        "bench",
        help="measure it side by side with what else this host has",
        description="Measure a daemon of its own, in turns with the host's own shell, bare bubblewrap, plain echo "
        "servers and whatever else is there. What this host lacks is left out, and told. Exits with 1 when a scenario "
        "failed or a ratio is much worse than the recorded one.",
    )
    parser.add_argument("--list", action="store_true", help="print the scenarios and what each measures")
    parser.add_argument("--scenario", nargs="+", metavar="NAME", help="these alone (default: all)")
    effort = parser.add_mutually_exclusive_group()
    effort.add_argument(
        "--runs", type=int, default=60, metavar="N", help="samples of each, more of what is quick (default: 60)"
    )
    effort.add_argument("--quick", action="store_true", help="few samples and small crowds: does it work at all?")
    effort.add_argument("--from", type=Path, metavar="FILE", dest="report", help="show a report of --json instead")
    add_limits(parser, "auto")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the report, with every sample")
    parser.add_argument("--svg", type=Path, metavar="FILE", help="draw the distributions")
    parser.add_argument("--markdown", type=Path, metavar="FILE", help="put the tables between the marks of a document")
    parser.add_argument("--record", type=Path, metavar="FILE", help="write the ratios, to be compared with later")
    parser.add_argument(
        "--compare", type=Path, metavar="FILE", help="exit with 1 if a ratio is twice as bad as recorded"
    )
    parser.set_defaults(func=_bench)


def _bench(arguments: argparse.Namespace) -> int:
    from runnerd.bench.compare import worse
    from runnerd.bench.results import Report
    from runnerd.bench.scenario import NAMES, load

    if arguments.list:
        for name in NAMES:
            print(f"{name:<14}{load(name).ABOUT}")
        return 0
    recorded: dict[str, dict[str, float]] = {}
    if arguments.compare:
        recorded = _decoded(arguments.compare, dict[str, dict[str, float]])
    for file in (getattr(arguments, name) for name in OUTPUTS):
        if file is not None and not os.access(file.parent, os.W_OK):
            raise SetupError(f"{file} cannot be written", hint="its folder must be there, and yours")
    if arguments.report:
        report = _decoded(arguments.report, Report)
        for result in report.results:
            _tell(result)
    else:
        report = _measured(arguments)
    _write_all(arguments, report)
    over = worse(report, recorded)
    for one in over:
        print(f"much worse than recorded: {one}")
    return int(bool(over) or any(each.failed for each in report.results))


def _measured(arguments: argparse.Namespace) -> "Report":
    from runnerd.bench import runner, tables
    from runnerd.bench.scenario import NAMES, QUICK, Effort

    names = arguments.scenario or NAMES
    if unknown := [name for name in names if name not in NAMES]:
        raise BadRequest(f"there is no scenario {unknown[0]!r}", hint=f"there are {', '.join(NAMES)}")
    if arguments.runs < 1:
        raise BadRequest("--runs is at least 1")
    print(f"{tables.where(runner.machine())}\n")
    return runner.measure(names, QUICK if arguments.quick else Effort(arguments.runs), arguments.limits, _tell)


def _tell(result: "Result") -> None:
    from runnerd.bench.tables import shown

    print(shown(result), end="\n\n", flush=True)


def _write_all(arguments: argparse.Namespace, report: "Report") -> None:
    import msgspec

    from runnerd.bench import tables
    from runnerd.bench.compare import ratios
    from runnerd.bench.picture import picture
    from runnerd.bench.scenario import NAMES, load

    if arguments.json:
        _write(arguments.json, msgspec.json.encode(report))
    if arguments.record:
        _write(arguments.record, msgspec.json.format(msgspec.json.encode(ratios(report)), indent=2) + b"\n")
    if arguments.svg:
        _write(arguments.svg, picture(report).encode())
    if arguments.markdown:
        text = tables.markdown(report, [(name, load(name).AIMS) for name in NAMES])
        try:
            document = tables.inserted(_read(arguments.markdown).decode(), text)
        except ValueError:
            hint = f"it needs {tables.BEGIN} and {tables.END}"
            raise BadRequest(f"{arguments.markdown} has no place for tables", hint=hint) from None
        _write(arguments.markdown, document.encode())


def _decoded(file: Path, kind: type[T]) -> T:
    import msgspec

    try:
        return msgspec.json.decode(_read(file), type=kind)
    except msgspec.DecodeError as problem:
        raise BadRequest(f"{file}: {problem}", hint="it should have been written by `runnerd bench`") from problem


def _read(file: Path) -> bytes:
    try:
        return file.read_bytes()
    except OSError as problem:
        raise SetupError(f"{file}: {problem.strerror}") from problem


def _write(file: Path, data: bytes) -> None:
    try:
        file.write_bytes(data)
    except OSError as problem:
        raise SetupError(f"{file}: {problem.strerror}") from problem
