"""Notes on errors: which task failed, and what failed beside it."""

from __future__ import annotations

import contextlib

OWN = "in task"
"""How a note that names a task begins."""

_MOST = 8  # notes that name a task, on an error that is raised again and again


def add_note(error: BaseException, text: str) -> None:
    """Add a note that is not there yet; some errors cannot take any."""
    with contextlib.suppress(Exception):  # a frozen dataclass, for one
        notes = getattr(error, "__notes__", [])
        if text in notes:
            return
        ours = [each for each in notes if each.startswith(OWN)]
        if len(ours) >= _MOST:
            notes.remove(ours[0])
        error.add_note(text)
