"""Which box a run takes, and what can wait in it: values only."""

import re

from runnerd.errors import BadRequest
from runnerd.sandbox.pool import Kind
from runnerd.sandbox.spec import BoxSpec, Launch
from runnerd.sandbox.zygote import fits
from runnerd.session.run import Run, environment
from runnerd.toolchains import Toolchain


def kind_for(toolchain: Toolchain | None, spec: BoxSpec, profile: str, run: Run) -> Kind:
    """The kind of box that this run takes."""
    if toolchain is None or run.argv is not None:
        return Kind(spec, profile=profile)
    zygotes = launches(toolchain, run, spec.work)
    if not zygotes:
        return Kind(spec, toolchain.id, profile, programs=toolchain.programs)
    return Kind(spec, toolchain.id, profile, run.mode, zygotes, toolchain.programs)


def launches(toolchain: Toolchain, run: Run, work: str) -> tuple[tuple[str, Launch], ...]:
    """The programs that can be started ahead of this run, by step: none when it needs a fresh start."""
    try:
        main = toolchain.main({path or toolchain.source: b"" for path in run.files}, run.main)
    except BadRequest:
        return ()
    waiting = toolchain.zygotes.values()
    if main != toolchain.source or not fits(run.args, run.env):
        return ()
    if any(name.startswith(start) for name in run.env for each in waiting for start in each.cold):
        return ()
    own = toolchain.environment(run.mode)
    return tuple(
        (
            step,
            Launch(
                tuple(word.replace("{work}", work) for word in each.command or toolchain.words(step)),
                environment(Run(mode=run.mode), {**own, **_filled(each.env, own)}, work),
                run.mode,
                each.cwd or work,
            ),
        )
        for step, each in toolchain.zygotes.items()
    )


def further(words: tuple[str, ...], waiting: tuple[str, ...]) -> tuple[str, ...]:
    """What a program that was started as `waiting` must be told to be what `words` would have started."""
    return words[len(waiting) :] if words[: len(waiting)] == waiting else words[1:]


def _filled(env: dict[str, str], own: dict[str, str]) -> dict[str, str]:
    """With {NAME} replaced by the program's own value; the separator before or after none goes with it."""
    return {
        name: re.sub(r"\{(\w+)\}", lambda match: own.get(match[1], ""), text).strip(" :") for name, text in env.items()
    }
