"""Policies of a task: attempts, time limits and needs, as plain values without a clock."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:  # most tasks have neither, and a program loads what it uses
    from cascade.spec.caching import CachePolicy
    from cascade.spec.retry import RetryPolicy


class Rate(NamedTuple):
    """How often the attempts of a task may start, in one process."""

    rate: float | str
    """A number per second, or a text as ``"20/s"``, ``"10/m"`` or ``"5/h"``."""
    burst: float = 1.0
    """Attempts that may start at once after a pause."""


class Fallback(NamedTuple):
    """What takes the place of the value of a call that failed for good."""

    value: Any = None
    keeps: bool = False
    """Whether it is a :class:`Failure` that says what failed, instead of ``value``."""


class Policies(NamedTuple):
    """The settings of one task, which hold for each of its attempts."""

    retry: RetryPolicy | None = None
    timeout: float | None = None
    """Seconds that one attempt may take."""
    cache: CachePolicy | None = None
    demands: Mapping[str, Any] | None = None
    """Amounts of the engine's resources, by name: numbers, or lazy results that give one."""
    at_most_once: bool = False
    """Whether a recorded run commits the start of an attempt before the call, and never repeats it on its own."""
    recorded: bool = True
    """Whether a recorded run keeps the value."""
    rate: Rate | None = None
    """How often attempts may start; None: as often as constraints allow."""
    fallback: Fallback | None = None
    """What dependents take if the call fails; None: they cannot run."""


NO_POLICIES = Policies()


def per_second(rate: float | str) -> float:
    """Return starts per second.

    :raises ValueError: if no task could ever start at this rate, or the text is not a rate.
    """
    value = _parsed(rate) if isinstance(rate, str) else rate
    if value <= 0:
        raise ValueError("rate must be above 0; to stop everything use a pause")
    if not math.isfinite(1.0 / value):
        raise ValueError("rate is too small; to stop everything use a pause")
    return value


def _parsed(text: str) -> float:
    import re  # most programs state no rate

    found = re.fullmatch(_RATE, text, re.ASCII)
    if found is None or found[2] not in _SECONDS:
        raise ValueError('rate must be a number per second, or a text as "10/s", "10/m" or "10/h"')
    return float(found[1]) / _SECONDS[found[2]]


_SECONDS = {"s": 1.0, "sec": 1.0, "second": 1.0, "m": 60.0, "min": 60.0, "minute": 60.0}
_SECONDS |= {"h": 3600.0, "hr": 3600.0, "hour": 3600.0}
_RATE = r"([0-9]{1,15}(?:\.[0-9]{1,15})?)/([a-z]{1,7}?)s?"
