"""`runnerd config`: check a configuration file, show what is in force."""

import argparse
import json
from pathlib import Path

import msgspec

from runnerd.cli.options import Subparsers, add_json
from runnerd.config import load
from runnerd.errors import ConfigError
from runnerd.server import address
from runnerd.server.auth import check_settings


def add_parser(subparsers: Subparsers) -> None:
    config = subparsers.add_parser("config", help="check or show the configuration", description=__doc__)
    commands = config.add_subparsers(title="commands", metavar="COMMAND", required=True)
    check = commands.add_parser("check", help="say whether a file is right, and where it is not")
    check.set_defaults(func=_check)
    show = commands.add_parser("show", help="print every setting with its value")
    show.set_defaults(func=_show)
    for command in (check, show):
        command.add_argument("file", type=Path, nargs="?", metavar="FILE", help="none: the defaults")
        add_json(command)


def _check(arguments: argparse.Namespace) -> int:
    name = arguments.file or "the defaults"
    try:
        settings = load(arguments.file)
        try:
            where = address.parse(settings.listen)
        except ConfigError as problem:
            raise ConfigError(f"{name}: listen is {problem.message}", hint=problem.hint) from problem
        try:
            check_settings(settings.auth, str(where), loopback=where.loopback)
        except ConfigError as problem:
            raise ConfigError(f"{name}: {problem.message}", hint=problem.hint) from problem
    except ConfigError as problem:
        if not arguments.json:
            raise
        print(json.dumps({"ok": False, "error": problem.message, "hint": problem.hint}))
        return 1
    print(json.dumps({"ok": True}) if arguments.json else f"{name}: ok")
    return 0


def _show(arguments: argparse.Namespace) -> int:
    import tomli_w

    settings = msgspec.to_builtins(load(arguments.file))
    print(json.dumps(settings) if arguments.json else tomli_w.dumps(settings), end="\n" if arguments.json else "")
    return 0
