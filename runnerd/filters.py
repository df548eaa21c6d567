"""The gateway filter: well-known harmful one-liners are refused before a box is used. Rules are data, see filters/."""

import re
import tomllib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from runnerd.errors import BadRequest
from runnerd.resources import folder

LOOKED_AT = 64 * 1024
"""Bytes of each file: such lines are short, and a gateway that reads megabytes would be an attack's own tool."""


class Filtered(BadRequest):
    """The code matches a rule of the gateway filter."""

    code = "filtered"


@dataclass(frozen=True, slots=True)
class Rule:
    """`languages` are ids of toolchains; () means all."""

    name: str
    why: str
    pattern: re.Pattern[str]
    languages: tuple[str, ...]
    example: str


def load(path: Path | None = None) -> tuple[Rule, ...]:
    data = tomllib.loads((path or folder("filters") / "rules.toml").read_text())
    return tuple(
        Rule(
            rule["name"],
            rule["why"],
            re.compile(rule["pattern"], re.ASCII),
            tuple(rule.get("languages", ())),
            rule["example"],
        )
        for rule in data["rule"]
    )


def check(rules: Iterable[Rule], language: str, texts: Iterable[bytes]) -> None:
    """Raise Filtered, which names the rule, when one of the `texts` (files, arguments) matches."""
    shown = [text[:LOOKED_AT].decode(errors="replace") for text in texts]
    for rule in rules:
        if (not rule.languages or language in rule.languages) and any(map(rule.pattern.search, shown)):
            raise Filtered(
                f"the code was not run: the rule {rule.name} refuses it ({rule.why})",
                hint="boxes hold it as well; who runs this service can switch the filter off",
            )
