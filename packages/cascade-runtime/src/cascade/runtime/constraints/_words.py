"""Text from outside, made fit for a log and for a line that a person may paste into a shell. Pure."""

from __future__ import annotations

import shlex


def shown(text: str) -> str:
    """Return ``text`` with every character escaped that could end a line or move a cursor.

    >>> print(shown("task:a" + chr(10) + "b"))
    task:a\\x0ab
    """
    return "".join(char if char.isprintable() else _escaped(ord(char)) for char in text)


def lifting(topic: str) -> str:
    """Return the line that clears a register.

    >>> print(lifting("cascade/constraints/task/it's"))
    mosquitto_pub -r -n -t 'cascade/constraints/task/it'"'"'s'
    """
    return f"mosquitto_pub -r -n -t {shown(shlex.quote(topic))}"


def _escaped(code: int) -> str:
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"
