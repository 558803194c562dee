"""How a run ended, in one line, wherever a command prints it."""

from __future__ import annotations

from cascade.interfaces.text import printable

_WORDS = {"Succeeded": "succeeded", "Failed": "failed", "Cancelled": "was cancelled"}


def how_it_ended(run_id: str, outcome: str, seconds: float | None, error: str) -> str:
    """Return which run ended how, after how long and why.

    >>> how_it_ended("audit~7", "Failed", 2.13, "inspect:0: OSError: no sensor")
    'audit~7 failed after 2.1 s: inspect:0: OSError: no sensor'
    """
    took = f" after {seconds:.1f} s" if seconds is not None else ""
    why = f": {error}" if error else ""
    return f"{run_id} {_WORDS.get(outcome, printable(outcome))}{took}{why}"
