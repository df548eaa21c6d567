"""Options that several commands share."""

import argparse
from pathlib import Path
from typing import TypeAlias, get_args

import msgspec

from runnerd.config import Backend, Config, load

Subparsers: TypeAlias = "argparse._SubParsersAction[argparse.ArgumentParser]"  # pyright: ignore[reportPrivateUsage]

LIMITS = ("cgroup", "best-effort", "auto")


def add_config(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--config", type=Path, metavar="FILE", help="TOML configuration (docs/configuration.md)")


def add_state_dir(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--state-dir", type=Path, metavar="DIR", help="where keys and caches are kept")


def add_limits(parser: argparse.ArgumentParser, default: str) -> None:
    parser.add_argument(
        "--limits",
        choices=LIMITS,
        default=default,
        help="how boxes are held to their limits; auto: the strongest this host offers (default: %(default)s)",
    )


def add_backend(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--backend", choices=get_args(Backend), help="what builds boxes (default: backend in the configuration)"
    )


def add_json(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--json", action="store_true", help="print JSON for scripts")


def configuration(arguments: argparse.Namespace) -> Config:
    """The configuration that `--config` names, or the defaults, as other options change it. Raises ConfigError."""
    config = load(getattr(arguments, "config", None))
    backend: Backend | None = getattr(arguments, "backend", None)
    return msgspec.structs.replace(config, backend=backend) if backend else config


def state_dir(arguments: argparse.Namespace) -> Path:
    return arguments.state_dir or configuration(arguments).state
