"""Text from files, made safe to show."""

from __future__ import annotations

from rich.text import Text


def shown(text: str, style: str = "") -> Text:
    """Return foreign text literally: no markup, and nothing that moves a cursor or ends a line."""
    return Text("".join(char if char.isprintable() else _escaped(char) for char in text), style=style)


def _escaped(char: str) -> str:
    return f"\\x{ord(char):02x}" if ord(char) < 0x100 else f"\\u{ord(char):04x}"
