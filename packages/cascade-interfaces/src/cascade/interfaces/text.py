"""Text that MQTT carries (MQTT 5.0, section 1.5.4), and foreign text made safe to show."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

MAX_BYTES = 65_535
"""The longest text, in bytes of UTF-8."""

_NONCHARACTERS = "".join(
    f"{chr(plane + 0xFFFE)}{chr(plane + 0xFFFF)}" for plane in range(0, 0x110000, 0x10000)
)
UNSENDABLE = rf"\x00-\x1f\x7f-\x9f\ud800-\udfff\ufdd0-\ufdef{_NONCHARACTERS}"
"""Characters for which a broker may cut the link, for a class of a pattern: control characters, lone
surrogates and noncharacters (also MQTT 3.1.1, section 1.5.3)."""

_FORBIDDEN = f"[{UNSENDABLE}]"


def printable(text: str) -> str:
    r"""Return ``text`` with every character that could move a cursor or end a line escaped.

    >>> printable("a\x1b[2J")
    'a\\u001b[2J'
    """
    return "".join(char if char.isprintable() else f"\\u{ord(char):04x}" for char in text)


def text_problem(text: str) -> str:
    """Return why a broker may cut the link for ``text``; empty if it may be sent."""
    # each of these characters is unprintable
    if not text.isprintable() and re.search(_FORBIDDEN, text):
        return "has a control character, a noncharacter or a lone surrogate, for which brokers cut the link"
    if len(text) > MAX_BYTES // 4 and len(text.encode()) > MAX_BYTES:
        return f"is longer than {MAX_BYTES} bytes"
    return ""


def nearest(word: str, known: Iterable[str], *, least: float = 0.6) -> str:
    """Return the known word that is most like ``word``; empty if none is.

    :param least: how alike two words have to be, from 0 to 1.
    """
    # Slow to import, and only an error needs it.
    import difflib

    found = difflib.get_close_matches(word, known, n=1, cutoff=least)
    return found[0] if found else ""


def meant(word: str, known: Iterable[Any], form: str = "{}") -> str:
    """Return "; did you mean ...?" for the known name that is most like ``word``; "" if none is."""
    similar = nearest(word, (each for each in known if not each.startswith("_")))
    return f"; did you mean {form.format(similar)}?" if similar else ""
