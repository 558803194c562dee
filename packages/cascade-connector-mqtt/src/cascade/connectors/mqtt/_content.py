"""What a message says, fixed at the moment in which it is handed over."""

from __future__ import annotations

import marshal

from cascade.interfaces.protocols import Payload
from cascade.interfaces.wire import encode_payload

Content = str | bytes
"""The JSON text, or a copy of the payload whose JSON is made when it is wanted: that takes five times as long."""


def content(payload: Payload, *, later: bool) -> tuple[Content, int]:
    """Return what goes out, and how many things in it JSON cannot hold, as far as that is known by now.

    :param later: make the JSON later, if the payload is plain data.
    """
    if later:
        try:
            return marshal.dumps(payload), 0  # type: ignore[arg-type]
        except ValueError:  # something in it cannot be copied in this way
            pass
    return encode_payload(payload)


def text_of(copy: bytes) -> tuple[str, int]:
    """Return the JSON text of a copy, and how many things in it JSON cannot hold."""
    return encode_payload(marshal.loads(copy))
