"""What a message says, fixed at the moment in which it is handed over."""

from __future__ import annotations

import marshal
from typing import Any

from cascade.interfaces.wire import encode_payload

_FORMAT = 2
"""The newest that looks for no object that stands twice, and so the quickest in both directions."""

Content = str | bytes
"""The JSON text, or a copy of the payload whose JSON is made when it is wanted: that takes five times as long."""


def copy_of(payload: dict[str, Any]) -> bytes | None:
    """Return a deep copy of plain data, or None if something in it cannot be copied in this way."""
    try:
        return marshal.dumps(payload, _FORMAT)
    except ValueError:
        return None


def text_of(copy: bytes) -> tuple[str, int]:
    """Return the JSON text of a copy, and how many things in it JSON cannot hold."""
    return encode_payload(marshal.loads(copy))
