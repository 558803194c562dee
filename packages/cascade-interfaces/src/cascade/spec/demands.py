"""Demands: the amounts of an engine's resources that a task needs, declared with ``with_constraints``."""

from __future__ import annotations

from cascade.interfaces.errors import ConfigurationError
from cascade.spec._numbers import is_number


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
