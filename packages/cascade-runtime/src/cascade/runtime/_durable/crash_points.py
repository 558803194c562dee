"""Named moments at which a test may end the process: the promises of the store hold after each of them."""

from __future__ import annotations

from collections.abc import Callable

CRASH_POINTS = (
    "lock-taken",
    "begin-committed",
    "start-queued",
    "encoded",
    "before-begin",
    "in-transaction",
    "committed-unheard",
    "big-file-written",
    "big-file-renamed",
    "expanded-committed",
    "turn-deleted",
    "retry-recorded",
    "end-committed",
    "checkpoint",
    "migrating",
    "pruning",
)


def _continue(point: str) -> None:
    """Do nothing: in use, no moment is special."""


hook: Callable[[str], None] = _continue
"""Only tests replace it."""


def reach(point: str) -> None:
    """Call the hook: from whatever thread is there."""
    hook(point)
