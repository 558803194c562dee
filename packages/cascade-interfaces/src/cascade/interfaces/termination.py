"""Why a program cancels its runs: Ctrl-C, or a signal. Whoever reads later how a run ended finds it there."""

from __future__ import annotations

from collections.abc import Callable
from contextvars import ContextVar
from typing import Final

CTRL_C: Final = "Ctrl-C"
BY_PROGRAM: Final = "its program cancelled it"

_unknown: Callable[[], str] = str
termination: ContextVar[Callable[[], str]] = ContextVar("cascade termination", default=_unknown)
"""Returns ``SIGTERM``, ``SIGHUP`` or ``Ctrl-C`` once one of them ends the program; before that, an empty text."""


def why_cancelled(error: BaseException) -> str:
    """Return what cancelled a run that ``error`` ends, and that no constraint has cancelled."""
    if isinstance(error, KeyboardInterrupt):
        return CTRL_C
    return termination.get()() or BY_PROGRAM
