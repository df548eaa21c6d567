"""The gateway filter: well-known harmful one-liners are refused before a box is used. Rules are data, see filters/."""

import re
import tomllib
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import msgspec

from runnerd.errors import BadRequest
from runnerd.resources import folder

LOOKED_AT = 32 * 1024
"""Bytes of one run: such lines are short, and a gateway that reads megabytes would be an attack's own tool."""

BETWEEN = b"\n\0\n"
"""Between files: no pattern matches across it."""


class Filtered(BadRequest):
    """The code matches a rule of the gateway filter."""

    code = "filtered"


class Rule(msgspec.Struct, frozen=True):
    """`languages` are ids of toolchains; () means all. `contains` is in all that the expression `pattern` matches.

    Patterns are compiled when first used: all together take a tenth of a daemon's start.
    """

    name: str
    why: str
    contains: str
    pattern: str
    languages: tuple[str, ...]
    examples: tuple[str, ...]

    def refuses(self, language: str, text: str) -> bool:
        return (
            (not self.languages or language in self.languages)
            and self.contains in text
            and re.search(self.pattern, text, re.ASCII) is not None
        )


def load(path: Path | None = None) -> tuple[Rule, ...]:
    data = tomllib.loads((path or folder("filters") / "rules.toml").read_text())
    return tuple(
        Rule(
            rule["name"],
            rule["why"],
            rule["contains"],
            _pattern(rule, data["writing"]),
            tuple(rule.get("languages", ())),
            tuple(rule["examples"]),
        )
        for rule in data["rule"]
    )


def check(rules: Iterable[Rule], language: str, texts: Iterable[bytes]) -> None:
    """Raise Filtered, which names the rule, when one of the `texts` (files, a command line) matches.

    The shortest texts are looked at first, since code tends to be shorter than data, up to LOOKED_AT bytes in all:
    whoever sends more must not hold up everybody else.
    """
    shown = bytearray()
    for text in sorted(texts, key=len):
        if len(shown) >= LOOKED_AT:
            break
        shown += text[: LOOKED_AT - len(shown)] + BETWEEN
    code = shown.decode(errors="replace")
    for rule in rules:
        if rule.refuses(language, code):
            raise Filtered(
                f"the code was not run: the rule {rule.name} refuses it ({rule.why})",
                hint="boxes hold it as well; who runs this service can switch the filter off",
            )


def _pattern(rule: dict[str, Any], writing: list[str]) -> str:
    if "pattern" in rule:
        return rule["pattern"]
    return "|".join(shape.replace("{path}", f"(?:{rule['writes']})") for shape in writing)
