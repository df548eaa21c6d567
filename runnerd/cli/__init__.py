"""The command `runnerd`: one module per command, imported only when it is asked for."""

import argparse
import importlib
import os
import sys
from collections.abc import Sequence
from typing import cast

from runnerd import __version__
from runnerd.errors import RunnerdError

COMMANDS = ("serve", "run", "shell", "doctor", "toolchains", "keys", "config", "seccomp", "top", "bench")


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command and return its exit status. Errors go to stderr with a hint, never as a traceback."""
    words = list(sys.argv[1:] if argv is None else argv)
    named = next((word for word in words if not word.startswith("-")), None)
    try:
        arguments = parser((named,) if named in COMMANDS else COMMANDS).parse_args(words)
        try:
            return arguments.func(arguments)
        except BaseExceptionGroup as group:
            # trio wraps what ends a nursery once for each one around it.
            raise _only(group) from None
    except RunnerdError as error:
        complain(error)
        return 1
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:
        # Whoever read our output has gone; nothing more can be told, not even at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        return 141


def parser(commands: Sequence[str] = COMMANDS) -> argparse.ArgumentParser:
    """The parser of these commands; each module adds its own."""
    top = argparse.ArgumentParser(
        prog="runnerd",
        description="Run untrusted programs in boxes of kernel namespaces, on real terminals.",
        epilog="`runnerd COMMAND --help` tells more of each.",
    )
    top.add_argument("--version", action="version", version=f"runnerd {__version__}")
    subparsers = top.add_subparsers(title="commands", metavar="COMMAND", required=True)
    for name in commands:
        importlib.import_module(f"runnerd.cli.{name}").add_parser(subparsers)
    return top


def _only(group: BaseExceptionGroup[BaseException]) -> BaseException:
    """What the group and those within hold when it is a single error."""
    if len(group.exceptions) != 1:
        return group
    error = group.exceptions[0]
    return _only(cast("BaseExceptionGroup[BaseException]", error)) if isinstance(error, BaseExceptionGroup) else error


def complain(error: RunnerdError) -> None:
    """Tell an error and what to do about it."""
    print(f"{style('runnerd:', '1;31', 2)} {error.message}", file=sys.stderr)
    if error.hint:
        print(f"  {error.hint}", file=sys.stderr)


def style(text: str, code: str, fd: int = 1) -> str:
    """Coloured where `fd` is a terminal that wants colours (https://no-color.org)."""
    if os.isatty(fd) and "NO_COLOR" not in os.environ and os.environ.get("TERM") != "dumb":
        return f"\x1b[{code}m{text}\x1b[0m"
    return text
