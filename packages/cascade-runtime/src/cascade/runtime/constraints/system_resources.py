"""What an engine has of each resource, given out all at once or not at all, first come, first served. Pure."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping

from cascade.interfaces import ConfigurationError, UsageError
from cascade.runtime.constraints.tickets import Demands, Line, Obstacle, TicketQueue
from cascade.spec.constraint import check_amount

_ROUNDING = 1e-9


class UnknownResourceError(UsageError, LookupError):
    """A task needs a resource that the engine was not told of."""

    def __init__(self, task_name: str, resource: str, known: Iterable[str]) -> None:
        self.task_name = task_name
        self.resource = resource
        self.known = tuple(known)
        have = f"it has {', '.join(self.known)}" if self.known else "it has none"
        super().__init__(
            f"task {task_name!r} needs {resource!r}, which this engine does not have ({have}); "
            f"name it in system_resources={{{resource!r}: ...}}"
        )


class ResourceCapacityError(UsageError, ValueError):
    """A task needs more of a resource than the engine has in all."""

    def __init__(self, task_name: str, resource: str, amount: float, capacity: float) -> None:
        self.task_name = task_name
        self.resource = resource
        self.amount = amount
        self.capacity = capacity
        super().__init__(
            f"task {task_name!r} needs {resource}={amount:g}, but this engine has {resource}={capacity:g} in all"
        )


class SystemResources:
    """Capacities and what is free of them.

    A queue waits in the line of the resources that it needs; whoever came first among those
    that share a resource is served first, so that a great demand is not overtaken for ever.

    :raises ConfigurationError: if a capacity is not a number from 0.
    """

    def __init__(self, capacities: Mapping[str, float] | None = None) -> None:
        self.capacities = dict(capacities or {})
        for name, capacity in self.capacities.items():
            if not _is_amount(capacity):
                raise ConfigurationError(
                    f"system_resources[{name!r}]", f"needs a finite number from 0, not {capacity!r}"
                )
        self.free = dict(self.capacities)
        self._lines: dict[frozenset[str], ResourceLine] = {}

    def check(self, task_name: str, demands: Mapping[str, float]) -> Demands:
        """Return demands that can be met some day, in the form that tickets carry.

        :raises UnknownResourceError: listing the resources that there are.
        :raises ResourceCapacityError: naming the demand and the capacity.
        :raises ConfigurationError: if an amount is not a finite number from 0.
        """
        for name, amount in demands.items():
            if name not in self.capacities:
                raise UnknownResourceError(task_name, name, sorted(self.capacities))
            if check_amount(name, amount) > self.capacities[name]:
                raise ResourceCapacityError(task_name, name, amount, self.capacities[name])
        return tuple(sorted((name, float(amount)) for name, amount in demands.items() if amount))

    def line(self, demands: Demands) -> ResourceLine:
        """Return the line in which those stand who need these resources."""
        names = frozenset(name for name, _ in demands)
        return self._lines.setdefault(names, ResourceLine(self, names))

    def lines(self) -> Iterable[ResourceLine]:
        """Return every line."""
        return self._lines.values()

    def has_room(self, queue: TicketQueue, order: int) -> bool:
        """Return whether all is free that a ticket of this order needs, and nobody came before it."""
        return self._is_free(queue.demands) and not any(
            (first := line.first()) is not None and first is not queue and first.order < order
            for line in self._lines.values()
            if not line.names.isdisjoint(name for name, _ in queue.demands)
        )

    def take(self, demands: Demands) -> None:
        """Take all of it."""
        for name, amount in demands:
            self.free[name] -= amount

    def give_back(self, demands: Demands) -> None:
        """Give all of it back."""
        for name, amount in demands:
            self.free[name] = min(self.capacities[name], self.free[name] + amount)

    def _is_free(self, demands: Demands) -> bool:
        return all(self.free[name] + _ROUNDING >= amount for name, amount in demands)


class ResourceLine(Line):
    """Queues that wait for the same set of resources."""

    __slots__ = ("_resources", "names")

    def __init__(self, resources: SystemResources, names: frozenset[str]) -> None:
        super().__init__()
        self._resources = resources
        self.names = names

    def is_open(self, now: float) -> bool:
        first = self.first()
        return first is not None and self._resources.has_room(first, first.order)

    def obstacle(self) -> Obstacle:
        state = self._resources
        have = ", ".join(
            f"{name}: {state.free[name]:g} of {state.capacities[name]:g} free" for name in sorted(self.names)
        )
        return Obstacle(f"it waits for {have}")


def _is_amount(value: object) -> bool:
    return (
        isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value) and value >= 0
    )
