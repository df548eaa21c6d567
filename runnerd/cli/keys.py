"""`runnerd keys`: make, list and revoke API keys."""

import argparse
import json
import time
from dataclasses import asdict

from runnerd.cli.options import Subparsers, add_config, add_json, add_state_dir, state_dir
from runnerd.store import Store


def add_parser(subparsers: Subparsers) -> None:
    keys = subparsers.add_parser("keys", help="API keys and their credits", description=__doc__)
    commands = keys.add_subparsers(title="commands", metavar="COMMAND", required=True)

    create = commands.add_parser("create", help="make a key; its secret is shown this once")
    create.add_argument("--credits", type=_credits, required=True, metavar="N", help="how many credits it has")
    create.add_argument("--note", default="", help="for whom or what it is")
    create.set_defaults(func=_create)

    listing = commands.add_parser("list", help="show all keys")
    listing.set_defaults(func=_list)

    revoke = commands.add_parser("revoke", help="refuse a key from now on")
    revoke.add_argument("public_key", metavar="PUBLIC_KEY")
    revoke.set_defaults(func=_revoke)

    add = commands.add_parser("add-credits", help="give a key more credits")
    add.add_argument("public_key", metavar="PUBLIC_KEY")
    add.add_argument("credits", type=_credits, metavar="N")
    add.set_defaults(func=_add_credits)

    for command in (create, listing, revoke, add):
        add_state_dir(command)
        add_config(command)
        add_json(command)


def _credits(text: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) < 16):
        raise argparse.ArgumentTypeError(f"{text} is not a number of credits (0 or more)")
    return int(text)


def _create(arguments: argparse.Namespace) -> int:
    key = Store(state_dir(arguments)).create_key(arguments.credits, arguments.note)
    if arguments.json:
        print(json.dumps(asdict(key)))
    else:
        print(f"public key  {key.public_key}\nsecret key  {key.secret_key}\ncredits     {key.credits}")
        print("Keep the secret key now: it cannot be shown again.")
    return 0


def _list(arguments: argparse.Namespace) -> int:
    keys = Store(state_dir(arguments)).list_keys()
    if arguments.json:
        print(json.dumps([asdict(key) for key in keys]))
        return 0
    for key in keys:
        made = time.strftime("%Y-%m-%d", time.localtime(key.created))
        print(f"{key.public_key}  {key.credits:>10}  {made}  {'revoked  ' if key.revoked else ''}{key.note}")
    return 0


def _revoke(arguments: argparse.Namespace) -> int:
    Store(state_dir(arguments)).revoke(arguments.public_key)
    _say(arguments, {"public_key": arguments.public_key, "revoked": True}, f"{arguments.public_key} is revoked")
    return 0


def _add_credits(arguments: argparse.Namespace) -> int:
    total = Store(state_dir(arguments)).add_credits(arguments.public_key, arguments.credits)
    _say(arguments, {"public_key": arguments.public_key, "credits": total}, f"it has {total} credits now")
    return 0


def _say(arguments: argparse.Namespace, data: object, text: str) -> None:
    print(json.dumps(data) if arguments.json else text)
