"""File names from any text: everything is percent-encoded that could mean something to a file system, dots too."""

from __future__ import annotations

import re
from hashlib import blake2b

_PLAIN = re.compile(r"[A-Za-z0-9_-]")
_LONGEST = 120
_KEPT = 80


def file_name(text: str) -> str:
    """Return a text as a file name: at most 120 characters, and another one for each text.

    >>> file_name("night 2026-11-21")
    'night%202026-11-21'
    """
    raw = text.encode("utf-8", "surrogatepass")
    name = "".join(chr(byte) if _PLAIN.fullmatch(chr(byte)) else f"%{byte:02X}" for byte in raw)
    if len(name) <= _LONGEST:
        return name
    return f"{name[:_KEPT]}~{blake2b(raw, digest_size=16).hexdigest()}"
