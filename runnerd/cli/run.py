"""`runnerd run`: run a file in a box, on your own terminal."""

import argparse
from pathlib import Path

from runnerd.cli.options import Subparsers, add_backend, add_config, add_limits, add_state_dir, configuration, state_dir


def add_parser(subparsers: Subparsers) -> None:
    parser = subparsers.add_parser(
        "run",
        help="run a file in a box, on your own terminal",
        description="Run a file in a box. On a terminal the program has one as well; otherwise it reads and writes "
        "what runnerd's own input, output and errors are. Exits with the program's status; 124 when a time limit, "
        "137 when another limit ended it.",
    )
    add_limits(parser, "auto")
    add_backend(parser)
    parser.add_argument("--language", metavar="NAME", help="instead of the one that the file's ending tells")
    parser.add_argument("--profile", default="local", metavar="NAME", help="limits to run under (default: local)")
    add_state_dir(parser)
    add_config(parser)
    parser.add_argument("file", type=Path, metavar="FILE")
    parser.add_argument("args", nargs=argparse.REMAINDER, metavar="ARGS", help="the program's arguments")
    parser.set_defaults(func=_run)


def _run(arguments: argparse.Namespace) -> int:
    from runnerd import toolchains
    from runnerd.cli.attend import attend, on_terminal, read_file, window
    from runnerd.sandbox.host import open_host
    from runnerd.session.run import Run

    config = configuration(arguments)
    languages = toolchains.load()
    file: Path = arguments.file
    content = read_file(file)
    language = languages.get(arguments.language) if arguments.language else languages.for_file(file)
    run = Run(
        language=language.id,
        files={file.name: content},
        main=file.name,
        args=tuple(arguments.args),
        mode="terminal" if on_terminal() else "pipes",
        window=window(),
    )
    with open_host(config, limits=arguments.limits, state_dir=state_dir(arguments)) as host:
        return attend(host, config, run, arguments.profile)
