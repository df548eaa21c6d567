"""`runnerd shell`: bash in a box."""

import argparse

from runnerd.cli.options import Subparsers, add_backend, add_config, add_limits, add_state_dir, configuration, state_dir


def add_parser(subparsers: Subparsers) -> None:
    parser = subparsers.add_parser(
        "shell", help="bash in a box", description="Look around in a box: an interactive bash under a profile's limits."
    )
    add_limits(parser, "auto")
    add_backend(parser)
    parser.add_argument("--profile", default="local", metavar="NAME", help="limits to run under (default: local)")
    add_state_dir(parser)
    add_config(parser)
    parser.set_defaults(func=_shell)


def _shell(arguments: argparse.Namespace) -> int:
    from runnerd.cli.attend import attend, on_terminal, window
    from runnerd.sandbox.host import open_host
    from runnerd.session.run import Run

    config = configuration(arguments)
    terminal = on_terminal()
    run = Run(
        language="bash",
        argv=("bash", "-i") if terminal else ("bash",),
        mode="terminal" if terminal else "pipes",
        window=window(),
    )
    with open_host(config, limits=arguments.limits, state_dir=state_dir(arguments)) as host:
        return attend(host, config, run, arguments.profile)
