"""Text for logs and errors: notes on errors, and text from outside made printable."""

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


def printable(text: str) -> str:
    """Return ``text`` with every character escaped that is not printable, such as a line break.

    >>> print(printable("task:a" + chr(10) + "b"))
    task:a\\x0ab
    """
    if text.isprintable():
        return text
    return "".join(char if char.isprintable() else _escaped(ord(char)) for char in text)


def _escaped(code: int) -> str:
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"
