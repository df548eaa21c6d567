"""`runnerd keys`: make, list, change and revoke API keys, give them credits, sign tokens."""

import argparse
import json
import os
import sys
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import msgspec

from runnerd import tokens
from runnerd.cli.options import Subparsers, add_config, add_json, add_state_dir, configuration, state_dir
from runnerd.errors import BadRequest
from runnerd.store import NewKey, Rules, StoredKey

if TYPE_CHECKING:
    from runnerd.store.database import Store

SECRET = "RUNNERD_SECRET_KEY"
ENTRIES = 20
"""Lines of its ledger that `show` shows."""


def add_parser(subparsers: Subparsers) -> None:
    keys = subparsers.add_parser("keys", help="API keys and their credits", description=__doc__)
    commands = keys.add_subparsers(title="commands", metavar="COMMAND", required=True)

    create = commands.add_parser("create", help="make a key; its secret is shown this once")
    create.add_argument("--credits", type=_credits, required=True, metavar="N", help="how many credits it has")
    create.add_argument("--note", default="", help="for whom or what it is")
    _add_many(create, "--profile", "a profile it may use, instead of those of quota.key; may be given several times")
    _add_many(create, "--language", "a language it may use; may be given several times")
    create.add_argument("--runs-at-a-time", type=_count, metavar="N", help="0: any number")
    create.add_argument("--runs-per-minute", type=_count, metavar="N", help="0: any number")
    create.set_defaults(func=_create)

    listing = commands.add_parser("list", help="show all keys")
    listing.set_defaults(func=_list)

    show = _of_a_key(commands, "show", "show a key and the newest lines of its ledger", _show)
    revoke = _of_a_key(commands, "revoke", "refuse a key from now on, and end what it runs", _revoke)
    rotate = _of_a_key(commands, "rotate", "give a key a new secret; the old one is refused from now on", _rotate)
    credit = _of_a_key(commands, "credit", "give a key more credits", _credit)
    credit.add_argument("credits", type=_credits, metavar="N")

    sign = _of_a_key(commands, "sign", "make a widget token; needs no store", _sign)
    sign.add_argument(
        "--secret-key",
        metavar="KEY",
        help=f"the secret key; other users of this machine may see it, so better in ${SECRET} or on standard input",
    )

    for command in (create, listing, show, revoke, rotate, credit):
        add_state_dir(command)
        add_config(command)
    for command in (create, listing, show, revoke, rotate, credit, sign):
        add_json(command)


def _add_many(parser: argparse.ArgumentParser, option: str, help: str) -> None:
    parser.add_argument(option, action="append", metavar="NAME", help=help)


def _of_a_key(
    commands: Subparsers, name: str, help: str, func: Callable[[argparse.Namespace], int]
) -> argparse.ArgumentParser:
    command = commands.add_parser(name, help=help)
    command.add_argument("public_key", metavar="PUBLIC_KEY")
    command.set_defaults(func=func)
    return command


def _number(text: str, what: str, digits: int) -> int:
    if not (text.isascii() and text.isdigit() and len(text) <= digits):
        raise argparse.ArgumentTypeError(f"{text} is not a number of {what} (0 or more)")
    return int(text)


def _credits(text: str) -> int:
    return _number(text, "credits", 15)


def _count(text: str) -> int:
    return _number(text, "runs", 6)


def _store(arguments: argparse.Namespace) -> "Store":
    from runnerd.store.database import open_store

    return open_store(configuration(arguments).store, state_dir(arguments))


def _create(arguments: argparse.Namespace) -> int:
    rules = Rules(
        tuple(arguments.profile) if arguments.profile else None,
        tuple(arguments.language) if arguments.language else None,
        arguments.runs_at_a_time,
        arguments.runs_per_minute,
    )
    return _tell_new(arguments, _store(arguments).create_key(arguments.credits, arguments.note, rules))


def _list(arguments: argparse.Namespace) -> int:
    keys = _store(arguments).list_keys()
    if arguments.json:
        print(json.dumps([_fields(key) for key in keys]))
        return 0
    for key in keys:
        print(f"{key.public_key}  {key.credits:>10}  {_day(key)}  {'revoked  ' if key.revoked else ''}{key.note}")
    return 0


def _show(arguments: argparse.Namespace) -> int:
    store = _store(arguments)
    key, entries = store.key(arguments.public_key), store.entries(arguments.public_key, ENTRIES)
    if arguments.json:
        print(json.dumps({**_fields(key), "ledger": msgspec.to_builtins(entries)}))
        return 0
    print(f"{key.public_key}  {key.credits} credits, made {_day(key)}{', revoked' if key.revoked else ''}  {key.note}")
    rules = key.rules
    for name, rule in (
        ("profiles", None if rules.profiles is None else ", ".join(rules.profiles)),
        ("languages", None if rules.languages is None else ", ".join(rules.languages)),
        ("runs at a time", rules.runs_at_a_time),
        ("runs per minute", rules.runs_per_minute),
    ):
        if rule is not None:
            print(f"{name:<16} {rule}")
    for entry in entries:
        moment = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(entry.time))
        print(f"{moment}  {entry.amount:>+10}  {entry.reason}  {entry.subject}".rstrip())
    return 0


def _revoke(arguments: argparse.Namespace) -> int:
    _store(arguments).revoke(arguments.public_key)
    _say(arguments, {"public_key": arguments.public_key, "revoked": True}, f"{arguments.public_key} is revoked")
    return 0


def _rotate(arguments: argparse.Namespace) -> int:
    return _tell_new(arguments, _store(arguments).rotate(arguments.public_key))


def _credit(arguments: argparse.Namespace) -> int:
    total = _store(arguments).credit(arguments.public_key, arguments.credits)
    _say(arguments, {"public_key": arguments.public_key, "credits": total}, f"it has {total} credits now")
    return 0


def _sign(arguments: argparse.Namespace) -> int:
    secret = arguments.secret_key or os.environ.get(SECRET) or sys.stdin.readline().strip()
    if not secret:
        raise BadRequest("there is no secret key", hint=f"give it in ${SECRET}, on standard input or by --secret-key")
    token = tokens.sign(arguments.public_key, secret, time.time())
    tokens.parse(token)
    _say(arguments, {"public_key": arguments.public_key, "token": token}, token)
    return 0


def _tell_new(arguments: argparse.Namespace, key: NewKey) -> int:
    text = f"public key  {key.public_key}\nsecret key  {key.secret_key}\ncredits     {key.credits}\n"
    _say(arguments, msgspec.structs.asdict(key), text + "Keep the secret key now: it cannot be shown again.")
    return 0


def _fields(key: StoredKey) -> dict[str, Any]:
    """What may be told of a key."""
    fields = msgspec.structs.asdict(key)
    del fields["digest"]
    return fields | msgspec.structs.asdict(fields.pop("rules"))


def _day(key: StoredKey) -> str:
    return time.strftime("%Y-%m-%d", time.localtime(key.created))


def _say(arguments: argparse.Namespace, data: object, text: str) -> None:
    print(json.dumps(data) if arguments.json else text)
