"""The rules of a user for a run that continues a recorded one. No I/O."""

from __future__ import annotations

from typing import Literal, NamedTuple, get_args

from cascade.interfaces import ConfigurationError

ResumeMode = Literal["auto", "cancelled"]
OnChange = Literal["refuse", "rerun", "keep"]


class ResumeRules(NamedTuple):
    """Which recorded runs may go on, and what happens to completed steps that have changed."""

    resume: ResumeMode = "auto"
    on_change: OnChange = "refuse"
    max_starts: int | None = 5
    """How often in a row the process may die in one step; None: however often."""
    forget_control: bool = False
    """Begin without the constraints that the last process obeyed."""


def checked_rules(
    resume: object, on_change: object, max_starts: object, forget_control: object
) -> ResumeRules:
    """Return the rules that the user gave.

    :raises ConfigurationError: naming the argument that cannot be used.
    """
    if resume not in get_args(ResumeMode):
        raise ConfigurationError("run(resume=)", f"needs 'auto' or 'cancelled', not {resume!r}")
    if on_change not in get_args(OnChange):
        raise ConfigurationError("run(on_change=)", f"needs 'refuse', 'rerun' or 'keep', not {on_change!r}")
    if max_starts is not None and (
        not isinstance(max_starts, int) or isinstance(max_starts, bool) or max_starts < 1
    ):
        raise ConfigurationError("run(max_starts=)", "needs a whole number from 1, or None", value=max_starts)
    return ResumeRules(resume, on_change, max_starts, bool(forget_control))  # type: ignore[arg-type]  # both were looked up
