"""Capacities of an engine's resources: given out all at once or not at all, in order of arrival. No I/O."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from cascade.interfaces import ConfigurationError, ResourceCapacityError, UnknownResourceError
from cascade.runtime._admission.request_queues import BlockReason, Demands, RequestQueue, WaitQueue
from cascade.spec import LazyResult
from cascade.spec.checks import check_amount

# so that sums of fractional amounts fit into the capacity that they add up to
_ROUNDING = 1e-9


class SystemResources:
    """The capacities of an engine's resources, and what is free of each.

    A request waits in the queue of the set of resources that it demands. Among requests that
    share a resource the oldest is served first, so small demands cannot starve a large one.

    :raises ConfigurationError: if a capacity is not a finite number from 0.
    """

    def __init__(self, capacities: Mapping[str, float] | None = None) -> None:
        self.capacities = dict(capacities or {})
        for name, capacity in self.capacities.items():
            if not _is_amount(capacity):
                raise ConfigurationError(
                    f"system_resources[{name!r}]", f"needs a finite number from 0, not {capacity!r}"
                )
        self.free = dict(self.capacities)
        self._wait_queues: dict[frozenset[str], ResourceQueue] = {}

    def check(self, task_name: str, demands: Mapping[str, float]) -> Demands:
        """Return demands that the capacities can meet, in the form that a start request takes.

        :raises UnknownResourceError: if the engine does not have a resource.
        :raises ResourceCapacityError: if an amount exceeds the engine's capacity.
        :raises ConfigurationError: if an amount is not a finite number from 0.
        """
        for name, amount in demands.items():
            if name not in self.capacities:
                raise UnknownResourceError(task_name, name, tuple(sorted(self.capacities)))
            if check_amount(name, amount) > self.capacities[name]:
                raise ResourceCapacityError(task_name, name, amount, self.capacities[name])
        return tuple(sorted((name, float(amount)) for name, amount in demands.items() if amount))

    def wait_queue(self, demands: Demands) -> ResourceQueue:
        """Return the queue for requests that demand exactly these resources, in any amounts."""
        names = frozenset(name for name, _ in demands)
        return self._wait_queues.setdefault(names, ResourceQueue(self, names))

    def wait_queues(self) -> Iterable[ResourceQueue]:
        """Return every wait queue."""
        return self._wait_queues.values()

    def has_room(self, queue: RequestQueue, order: int) -> bool:
        """Return whether a queue's demands are free, and no older request waits for any of its resources."""
        return self._is_free(queue.demands) and not any(
            (first := waiting.first()) is not None and first is not queue and first.order < order
            for waiting in self._wait_queues.values()
            if not waiting.names.isdisjoint(name for name, _ in queue.demands)
        )

    def take(self, demands: Demands) -> None:
        """Take all amounts."""
        for name, amount in demands:
            self.free[name] -= amount

    def give_back(self, demands: Demands) -> None:
        """Give all amounts back."""
        for name, amount in demands:
            self.free[name] = min(self.capacities[name], self.free[name] + amount)

    def _is_free(self, demands: Demands) -> bool:
        return all(self.free[name] + _ROUNDING >= amount for name, amount in demands)


class ResourceQueue(WaitQueue):
    """Queues that wait for the same set of resources."""

    __slots__ = ("_resources", "names")

    def __init__(self, resources: SystemResources, names: frozenset[str]) -> None:
        super().__init__()
        self._resources = resources
        self.names = names

    def is_open(self, now: float) -> bool:
        first = self.first()
        return first is not None and self._resources.has_room(first, first.order)

    def block_reason(self) -> BlockReason:
        resources = self._resources
        free = ", ".join(
            f"{name}: {resources.free[name]:g} of {resources.capacities[name]:g} free"
            for name in sorted(self.names)
        )
        return BlockReason(f"it waits for {free}")


def _is_amount(value: object) -> bool:
    return (
        isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value) and value >= 0
    )


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
