"""Turns what a task has declared to need into amounts, when the task is ready. Pure."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from cascade.runtime.constraints.system_resources import SystemResources
from cascade.runtime.constraints.tickets import Demands
from cascade.spec import LazyResult


class ConstraintResolver:
    """Knows what the engine has, and says what of it a task needs."""

    def __init__(self, resources: SystemResources) -> None:
        self._resources = resources

    def resolve(
        self, task_name: str, declared: Mapping[str, Any], lookup: Callable[[LazyResult[Any]], Any]
    ) -> Demands:
        """Return the amounts for a ticket; ``lookup`` gives the value of a lazy one.

        :raises ConfigurationError: if an amount is not a finite number from 0.
        :raises UnknownResourceError: listing the resources that there are.
        :raises ResourceCapacityError: naming the demand and the capacity.
        """
        return self._resources.check(
            task_name,
            {
                name: lookup(amount) if isinstance(amount, LazyResult) else amount
                for name, amount in declared.items()
            },
        )
