"""Times as a person writes and reads them. No I/O."""

from __future__ import annotations

import re

_SECONDS = {"s": 1.0, "m": 60.0, "h": 3600.0, "d": 86_400.0}
_DURATION = re.compile(r"(\d{1,9}(?:\.\d{1,6})?)([smhd])", re.ASCII)
MAX_SECONDS = 3650 * 86_400.0
"""Ten years."""


def parse_duration(text: str) -> float:
    """Return the seconds of a duration such as ``90s``, ``10m``, ``2h`` or ``1d``.

    :raises ValueError: with what to write instead.
    """
    found = _DURATION.fullmatch(text.strip())
    if found is None:
        hint = f": did you mean {text.strip()}s?" if re.fullmatch(r"\d+", text.strip(), re.ASCII) else ""
        raise ValueError(f"{text!r} is not a duration{hint or '; write 90s, 10m, 2h or 1d'}")
    seconds = float(found[1]) * _SECONDS[found[2]]
    if not 0 < seconds <= MAX_SECONDS:
        raise ValueError(f"{text!r} is not a duration from more than 0 seconds to ten years")
    return seconds


def show_duration(seconds: float) -> str:
    """Return a duration in its largest fitting unit.

    >>> show_duration(0.4), show_duration(90), show_duration(7200), show_duration(200_000)
    ('0s', '90s', '2h', '2d')
    """
    seconds = max(0.0, seconds)
    for limit, unit in ((120.0, "s"), (7200.0, "m"), (172_800.0, "h")):
        if seconds < limit:
            return f"{int(seconds / _SECONDS[unit])}{unit}"
    return f"{int(seconds / _SECONDS['d'])}d"
