"""`runnerd top`: what the daemon is doing."""

import argparse
import json
from typing import Any

from runnerd.cli.options import Subparsers, add_config, add_json, add_state_dir, state_dir
from runnerd.errors import SetupError

MiB = 1024 * 1024


def add_parser(subparsers: Subparsers) -> None:
    parser = subparsers.add_parser(
        "top",
        help="show what the daemon is doing",
        description="Show the sessions and spaces of the daemon that uses this state folder, and the boxes that wait.",
    )
    add_state_dir(parser)
    add_config(parser)
    add_json(parser)
    parser.set_defaults(func=_top)


def _top(arguments: argparse.Namespace) -> int:
    from runnerd.server import admin

    state = state_dir(arguments)
    try:
        told = admin.ask(state)
    except OSError as problem:
        raise SetupError(
            f"no daemon answers at {state / admin.NAME}: {problem.strerror or problem}",
            hint="name the state folder of a daemon that runs, by --state-dir or --config, as the user that runs it",
        ) from problem
    print(json.dumps(told) if arguments.json else _shown(told))
    return 0


def _shown(told: dict[str, Any]) -> str:
    counts = " ".join(f"{outcome} {count}" for outcome, count in told["ended"].items() if count)
    lines = [
        f"{told['boxes']} of {told['boxes_max']} boxes, {told['queued']} waiting runs, {told['started']} runs so far",
        f"ended: {counts or 'none'}" + (", draining" if told["draining"] else ""),
    ]
    if told["sessions"]:
        lines.append(
            f"\n{'SESSION':<36} {'LANGUAGE':<12} {'MODE':<9} {'STATE':<10} {'VIEWERS':>7} {'OUTPUT':>10} QUIET"
        )
    for one in told["sessions"]:
        lines.append(
            f"{one['session']:<36} {one['language'] or '-':<12} {one['mode']:<9} {one['state']:<10} "
            f"{one['viewers']:>7} {one['output']:>10} {one['quiet']:.1f}s"
        )
    if told["spaces"]:
        lines.append(
            f"\n{'SPACE':<36} {'MEMBERS':>7} {'PROGRAMS':>8} {'TERMINALS':>9} {'MiB':>7} {'CPU':>8} {'AGE':>8} IDLE"
        )
    for one in sorted(told["spaces"], key=lambda one: -one["age"]):
        lines.append(
            f"{one['space']:<36} {one['members']:>7} {one['programs']:>8} {one['terminals']:>9} "
            f"{one['memory'] / MiB:>7.1f} {one['cpu']:>7.1f}s {one['age']:>7.0f}s {one['idle']:.1f}s"
        )
    if told["pool"]:
        lines.append(
            f"\n{'LANGUAGE':<12} {'PROFILE':<10} {'MODE':<9} {'WAITING':>7} {'MiB':>6} {'HITS':>7} {'MISSES':>7}"
        )
    for one in told["pool"]:
        lines.append(
            f"{one['language'] or '-':<12} {one['profile']:<10} {one['mode']:<9} {one['idle']:>3}/{one['wanted']:<3} "
            f"{one['memory'] / MiB:>6.1f} {one['hits']:>7} {one['misses']:>7}"
        )
    return "\n".join(lines)
