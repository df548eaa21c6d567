"""`runnerd serve`: the daemon."""

import argparse
import gc
from pathlib import Path
from typing import Any

import msgspec

from runnerd import config
from runnerd.cli import complain
from runnerd.cli.options import add_backend
from runnerd.errors import ConfigError, RunnerdError

DESCRIPTION = """\
Serve programs in boxes over WebSockets, and a page to try them on.

Limits are held by cgroup v2 (the default; refused where this host does not delegate it), by rlimits and a watcher
(best-effort), or by the stronger of both that the host offers (auto)."""

EPILOG = """\
SIGTERM and SIGINT let running sessions go on for a while (drain.seconds in the configuration); a second one ends
them at once. SIGHUP reads the configuration again."""


def add_parser(subparsers: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:  # pyright: ignore[reportPrivateUsage]
    parser = subparsers.add_parser(
        "serve",
        help="run the daemon",
        description=DESCRIPTION,
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--listen", metavar="HOST:PORT|unix:PATH", help="where to listen (default: 127.0.0.1:8080)")
    parser.add_argument("--state-dir", metavar="DIR", type=Path, help="where keys and caches are kept")
    parser.add_argument("--config", metavar="FILE", type=Path, help="configuration in TOML")
    parser.add_argument(
        "--limits", choices=("cgroup", "best-effort", "auto"), default="cgroup", help="how limits are held"
    )
    add_backend(parser)
    parser.add_argument(
        "--auth",
        choices=("keys", "open"),
        help="whether a key is needed; open is for loopback and Unix sockets (default: auth.mode, which is keys)",
    )
    parser.set_defaults(func=serve)


def serve(args: argparse.Namespace) -> int:
    """Run the daemon. 0 after an orderly stop, 1 when the host lacks something, 2 when a setting is wrong."""

    def read() -> config.Config:
        settings = config.load(args.config)
        changes: dict[str, Any] = {}
        if args.listen is not None:
            changes["listen"] = args.listen
        if args.state_dir is not None:
            changes["state_dir"] = str(args.state_dir.absolute())
        if args.backend is not None:
            changes["backend"] = args.backend
        if args.auth is not None:
            changes["auth"] = msgspec.structs.replace(settings.auth, mode=args.auth)
        return msgspec.structs.replace(settings, **changes)

    try:
        settings = read()
        # Here, not above: --help and a wrong setting should not wait for all that a daemon loads. It is a tenth
        # faster without looking for garbage, of which there is none.
        gc.disable()
        from runnerd.server.daemon import run_daemon

        gc.enable()
        run_daemon(settings, args.limits, read)
    except RunnerdError as problem:
        complain(problem)
        return 2 if isinstance(problem, ConfigError) else 1
    return 0
