"""Escape text from outside for logs. No I/O."""

from __future__ import annotations


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
