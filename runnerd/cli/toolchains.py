"""`runnerd toolchains`: which languages this host has, and whether they work in boxes."""

import argparse
import json
from collections.abc import Sequence
from typing import TYPE_CHECKING, TypedDict

from runnerd.cli import style
from runnerd.cli.options import (
    Subparsers,
    add_backend,
    add_config,
    add_json,
    add_limits,
    add_state_dir,
    configuration,
    state_dir,
)

if TYPE_CHECKING:  # imported when needed: `list` and --help should not wait for them
    from pathlib import Path

    from runnerd.config import Config
    from runnerd.sandbox.host import Host
    from runnerd.session.registry import Registry
    from runnerd.toolchains import Toolchain, Toolchains


class Row(TypedDict):
    """One language: what this host lacks of it, and the limits that it raises in every profile."""

    id: str
    name: str
    missing: list[str]
    raises: dict[str, int]


class Made(TypedDict):
    """What became of one language's files."""

    id: str
    ok: bool
    message: str


class Result(TypedDict):
    """One language's check."""

    id: str
    ok: bool
    missing: bool
    message: str


def add_parser(subparsers: Subparsers) -> None:
    parser = subparsers.add_parser("toolchains", help="list and check the languages", description=__doc__)
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    listing = commands.add_parser("list", help="show all languages and what is missing here")
    listing.set_defaults(func=_list)
    check = commands.add_parser("check", help="run each language's sample in a box and compare what it writes")
    check.add_argument("names", nargs="*", metavar="LANGUAGE", help="none: all that are installed")
    add_limits(check, "auto")
    add_backend(check)
    add_state_dir(check)
    add_config(check)
    check.set_defaults(func=_check)
    prepare = commands.add_parser(
        "prepare",
        help="make what languages run faster by",
        description="Make precompiled headers and the like, in boxes, where they are missing or no longer fit what is "
        "installed. Boxes do without as long as they are; a daemon that runs takes them up by itself.",
    )
    prepare.add_argument("names", nargs="*", metavar="LANGUAGE", help="none: all that are installed")
    add_limits(prepare, "auto")
    add_backend(prepare)
    add_state_dir(prepare)
    add_config(prepare)
    prepare.set_defaults(func=_prepare)
    for command in (listing, check, prepare):
        add_json(command)


def _list(arguments: argparse.Namespace) -> int:
    from runnerd import toolchains

    languages = toolchains.load()
    rows: list[Row] = [
        {
            "id": one.id,
            "name": one.name,
            "missing": [need.package for need in languages.missing(one)],
            "raises": dict(one.raises),
        }
        for one in languages.all()
    ]
    if arguments.json:
        print(json.dumps(rows))
        return 0
    for row in rows:
        missing = f"missing: install {', '.join(row['missing'])}" if row["missing"] else "ok"
        raises = ", ".join(f"{name} to at least {least}" for name, least in row["raises"].items())
        print(f"{row['id']:<12} {row['name']:<20} {missing}{f'; raises {raises}' if raises else ''}")
    return 0


def _prepare(arguments: argparse.Namespace) -> int:
    import trio

    from runnerd import toolchains
    from runnerd.sandbox.host import open_host
    from runnerd.sandbox.prepared import Prepared

    config = configuration(arguments)
    languages = toolchains.load()
    base = state_dir(arguments).absolute() / "prepared"
    chosen = [languages.get(name) for name in arguments.names] or languages.all()
    able = [one for one in chosen if one.prepare is not None and not languages.missing(one)]
    wanting = [one for one in able if Prepared(base).find(one) is None]
    made: list[Made] = [
        {"id": one.id, "ok": True, "message": "is prepared already"} for one in able if one not in wanting
    ]
    if wanting:
        with open_host(config, limits=arguments.limits, state_dir=state_dir(arguments)) as host:
            made += trio.run(_make, host, wanting, base)
    if arguments.json:
        print(json.dumps(made))
    else:
        for each in made:
            print(f"{each['id']:<12} {style('ok', '32') if each['ok'] else style('FAILED', '31'):<8} {each['message']}")
    return 0 if all(each["ok"] for each in made) else 1


async def _make(host: "Host", chosen: "Sequence[Toolchain]", base: "Path") -> list[Made]:
    import time

    from runnerd.errors import RunnerdError
    from runnerd.sandbox.prepare import prepare

    made: list[Made] = []
    for toolchain in chosen:
        begun = time.monotonic()
        try:
            size = await prepare(host, toolchain, base)
        except RunnerdError as problem:
            hint = f"\n{problem.hint}" if problem.hint else ""
            made.append({"id": toolchain.id, "ok": False, "message": problem.message + hint})
        else:
            message = f"{size / 1e6:.0f} MB in {time.monotonic() - begun:.1f} s"
            made.append({"id": toolchain.id, "ok": True, "message": message})
    return made


def _check(arguments: argparse.Namespace) -> int:
    import trio

    from runnerd import toolchains
    from runnerd.sandbox.host import open_host

    config = configuration(arguments)
    languages = toolchains.load()
    chosen = [languages.get(name) for name in arguments.names] or languages.all()
    with open_host(config, limits=arguments.limits, state_dir=state_dir(arguments)) as host:
        results = trio.run(_run_samples, host, config, languages, chosen)
    if arguments.json:
        print(json.dumps(results))
    else:
        for result in results:
            word = style("ok", "32") if result["ok"] else style("missing" if result["missing"] else "FAILED", "31")
            print(f"{result['id']:<12} {word:<8} {result['message']}")
    return 0 if all(result["ok"] or (result["missing"] and not arguments.names) for result in results) else 1


async def _run_samples(
    host: "Host", config: "Config", languages: "Toolchains", chosen: "Sequence[Toolchain]"
) -> list[Result]:
    import trio

    from runnerd.session.registry import Registry

    results: list[Result] = []
    async with trio.open_nursery() as nursery:
        registry = Registry(host, languages, config, nursery)
        for toolchain in chosen:
            missing = languages.missing(toolchain)
            if missing:
                packages = ", ".join(need.package for need in missing)
                results.append({"id": toolchain.id, "ok": False, "missing": True, "message": f"install {packages}"})
            else:
                results.append(await _run_sample(registry, toolchain))
    return results


async def _run_sample(registry: "Registry", toolchain: "Toolchain") -> Result:
    from runnerd.session.run import Run
    from runnerd.session.viewer import Ended, Output

    sample = toolchain.sample
    run = Run(language=toolchain.id, files={"": sample.code.encode()}, mode="pipes", stdin=sample.input.encode())
    viewer = (await registry.start(run)).viewer()
    written = {"stdout": b"", "stderr": b""}
    while not isinstance(event := await viewer.next(), Ended):
        if isinstance(event, Output):
            written[event.channel] += event.data
    ok = event.outcome == "exited" and event.code == 0 and written["stdout"] == sample.output.encode()
    message = (
        f"{event.timings.get('end', 0):.0f} ms"
        if ok
        else (
            f"{event.outcome} {event.message or event.code}: expected {sample.output!r}, "
            f"got {written['stdout'].decode('utf-8', 'replace')!r} {written['stderr'].decode('utf-8', 'replace')!r}"
        )
    )
    return {"id": toolchain.id, "ok": ok, "missing": False, "message": message}
