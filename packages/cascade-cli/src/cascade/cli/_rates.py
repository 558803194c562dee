"""Limits as they are written on a command line. No I/O."""

from __future__ import annotations

import re

_RATE = re.compile(r"(\d{1,15}(?:\.\d{1,15})?)(/(?:s|sec|second|m|min|minute|h|hour)s?)?", re.ASCII)


def parse_rate(text: str) -> float | str:
    """Return a rate as engines read it: a number per second, or text such as ``10/m``.

    :raises ValueError: with what to write instead.
    """
    rate = "".join(text.split())
    found = _RATE.fullmatch(rate)
    if found is None:
        raise ValueError(f"{text!r} is not a rate; write 10/s, 10/m or 10/h")
    if float(found[1]) == 0:
        raise ValueError("a rate of 0 never starts a task; use cascade pause")
    return rate if found[2] else float(rate)
