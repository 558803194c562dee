"""Resolve the resources that a task declares into amounts, once the task is ready. No I/O."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from cascade.runtime._admission.capacities import SystemResources
from cascade.runtime._admission.requests import Demands
from cascade.spec import LazyResult


class ConstraintResolver:
    """Computes the amounts that a task demands, and checks them against the engine's capacities."""

    def __init__(self, resources: SystemResources) -> None:
        self._resources = resources

    def resolve(
        self, task_name: str, declared: Mapping[str, Any], lookup: Callable[[LazyResult[Any]], Any]
    ) -> Demands:
        """Return the amounts for a start request; ``lookup`` returns the value of a lazy amount.

        :raises ConfigurationError: if an amount is not a finite number from 0.
        :raises UnknownResourceError: if the engine does not have a resource.
        :raises ResourceCapacityError: if an amount exceeds the engine's capacity.
        """
        return self._resources.check(
            task_name,
            {
                name: lookup(amount) if isinstance(amount, LazyResult) else amount
                for name, amount in declared.items()
            },
        )
