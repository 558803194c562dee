"""The header ``traceparent`` of W3C Trace Context: by it a run belongs to the trace of whoever asked for it."""

from __future__ import annotations

import re

_LEVEL_0 = re.compile(r"([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-[0-9a-f]{2}", re.ASCII)
_NO_VERSION = "ff"


def read_traceparent(text: str) -> str:
    """Return the text if it is a ``traceparent``; else an empty one, because a wrong trace stops no work.

    >>> read_traceparent("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01")
    '00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01'
    >>> read_traceparent("00-00000000000000000000000000000000-00f067aa0ba902b7-01")
    ''
    """
    found = _LEVEL_0.fullmatch(text)
    if found is None or found[1] == _NO_VERSION:
        return ""
    return text if set(found[2]) != {"0"} and set(found[3]) != {"0"} else ""
