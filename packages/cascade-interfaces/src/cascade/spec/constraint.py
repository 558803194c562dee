"""What a task needs of its engine: amounts of named resources, declared with ``with_constraints``."""

from __future__ import annotations

import math

from cascade.interfaces.errors import ConfigurationError


def check_amount(resource: str, amount: object) -> float:
    """Return an amount of a resource as a number.

    :raises ConfigurationError: if it is not a finite number from 0.
    """
    if isinstance(amount, bool) or not isinstance(amount, int | float) or not math.isfinite(amount):
        raise ConfigurationError(
            f"with_constraints({resource}=)",
            "needs a finite number from 0, or a lazy result that gives one",
            value=amount,
        )
    if amount < 0:
        raise ConfigurationError(f"with_constraints({resource}=)", "needs a number from 0", value=amount)
    return float(amount)
