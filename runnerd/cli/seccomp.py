"""`runnerd seccomp`: what boxes may ask of the kernel, and why."""

import argparse
import json

import msgspec

from runnerd.cli import style
from runnerd.cli.options import Subparsers, add_json
from runnerd.sandbox import seccomp


def add_parser(subparsers: Subparsers) -> None:
    parser = subparsers.add_parser("seccomp", help="explain the system call filters", description=__doc__)
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    explain = commands.add_parser("explain", help="say whether a system call is allowed in boxes, and why")
    explain.add_argument("syscall", metavar="SYSCALL", help="a name such as ptrace")
    explain.set_defaults(func=_explain)
    listing = commands.add_parser("list", help="print every rule of every filter")
    listing.set_defaults(func=_list)
    for command in (explain, listing):
        command.add_argument("--best-effort", action="store_true", help="as under --limits best-effort")
        add_json(command)


def _explain(arguments: argparse.Namespace) -> int:
    verdicts = seccomp.explain(arguments.syscall, best_effort=arguments.best_effort)
    if arguments.json:
        print(json.dumps(msgspec.to_builtins(verdicts)))
        return 0
    print(f"{style(arguments.syscall, '1')}: the strictest answer of all filters counts")
    for verdict in verdicts:
        when = f" when {verdict.when}" if verdict.when and verdict.when != "otherwise" else ""
        when = " otherwise" if verdict.when == "otherwise" else when
        print(f"  {verdict.policy:<6} {verdict.action}{when}\n         {verdict.why}")
    return 0


def _list(arguments: argparse.Namespace) -> int:
    policies = seccomp.policies(best_effort=arguments.best_effort)
    if arguments.json:
        print(json.dumps(msgspec.to_builtins(policies)))
        return 0
    for policy in policies:
        print(style(f"{policy.name}: by default {policy.default}", "1"))
        for rule in policy.rules:
            when = f" when {' and '.join(map(str, rule.conditions))}" if rule.conditions else ""
            print(f"  {rule.errno or 'allow'}{when}: {', '.join(rule.calls)}\n      {rule.why}")
    return 0
