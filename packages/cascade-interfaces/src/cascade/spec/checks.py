"""Checks of the numbers that a user sets."""

from __future__ import annotations

import math
from typing import TypeGuard

from cascade.interfaces.errors import ConfigurationError

LONGEST_DELAY = 86_400.0
"""Seconds (one day) that no delay between two attempts exceeds, however it has grown."""


def is_number(value: object) -> TypeGuard[float]:
    """Return whether a value is a finite number; a boolean is not."""
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def check_number(setting: str, value: object, *, least: float, exclusive: bool = False) -> None:
    """Refuse anything but a finite number from ``least``, or above it if ``exclusive``.

    :raises ConfigurationError: naming the setting.
    """
    if not is_number(value) or value < least or (exclusive and value == least):
        bound = "above" if exclusive else "from"
        raise ConfigurationError(setting, f"needs a number {bound} {least:g}, not {value!r}")


def check_count(setting: str, value: object) -> None:
    """Refuse anything but a whole number from 1.

    :raises ConfigurationError: naming the setting.
    """
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise ConfigurationError(setting, f"needs a whole number from 1, not {value!r}")


def check_amount(resource: str, amount: object) -> float:
    """Return an amount of a resource as a number.

    :raises ConfigurationError: if it is not a finite number from 0.
    """
    if not is_number(amount):
        raise ConfigurationError(
            f"with_constraints({resource}=)",
            "needs a finite number from 0, or a lazy result that gives one",
            value=amount,
        )
    if amount < 0:
        raise ConfigurationError(f"with_constraints({resource}=)", "needs a number from 0", value=amount)
    return float(amount)
