"""What keeps a scenario, or one side of it, from being measured."""

from runnerd.errors import RunnerdError


class Missing(RunnerdError):
    """A peer, a privilege or a language that this host lacks: it is left out, and why is told."""

    code = "setup"


class Broken(RunnerdError):
    """What was measured did not do what it should. The scenario has no result."""

    code = "broken"


def said(problem: Exception) -> str:
    """In one line, with its hint."""
    hint = getattr(problem, "hint", "")
    return f"{problem} ({hint})" if hint else str(problem) or type(problem).__name__
