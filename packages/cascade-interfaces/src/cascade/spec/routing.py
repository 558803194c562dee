"""Routes and order: graphs whose shape depends on data."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

from cascade.interfaces.errors import ConfigurationError
from cascade.spec.definition import structural
from cascade.spec.labels import brief, short
from cascade.spec.lazy import Call, CallSettings, LazyResult, not_lazy
from cascade.spec.nested import find_lazies
from cascade.spec.tasks import Task

T = TypeVar("T")


@dataclass(slots=True, eq=False, repr=False)
class RouteCall(Call):
    """The value of one of several routes; ``args`` holds the selector."""

    routes: Mapping[Any, LazyResult[Any]] = field(default_factory=dict)

    def shown(self) -> str:
        """Return the selector and the values that it may have."""
        return f"{brief(self.args[0]._call)} to {short(list(self.routes))}"


class Router(LazyResult[T], Generic[T]):
    """The value of the route that ``selector`` chooses; only the tasks that this route needs are run.

    ``routes`` maps each value that the selector may have to a lazy result.

    :raises InvalidTargetError: if the selector or a route is not a lazy result.
    :raises ConfigurationError: if there is no route.
    """

    __slots__ = ()

    def __init__(self, selector: LazyResult[Any], routes: Mapping[Any, LazyResult[T]]) -> None:
        if not isinstance(routes, Mapping) or not routes:
            raise ConfigurationError(
                "Router(routes)", f"needs a dict of at least one lazy result, not {routes!r}"
            )
        for lazy in (selector, *routes.values()):
            if not isinstance(lazy, LazyResult):
                raise not_lazy(lazy, "Router(selector, routes) takes the results of calling tasks")
        if find_lazies(list(routes)):
            raise ConfigurationError(
                "Router(routes)",
                "a key is or holds a lazy result; keys are the values that the selector may have",
            )
        super().__init__(RouteCall(_ROUTE, (selector,), routes=dict(routes)))


def sequence(*lazies: LazyResult[Any]) -> LazyResult[list[Any]]:
    """Run calls one after the other, in this order; the value is the list of theirs.

    Each is taken as declared here: one that also stands elsewhere in the graph is another node.

    :raises InvalidTargetError: if one is not a lazy result.
    """
    ordered: list[LazyResult[Any]] = []
    for lazy in lazies:
        if not isinstance(lazy, LazyResult):
            raise not_lazy(lazy, "sequence(...) takes the results of calling tasks")
        ordered.append(lazy.after(ordered[-1]) if ordered else lazy)
    return LazyResult(Call(_LIST, (ordered,)))


def pipeline(value: Any, *tasks: Task[..., Any]) -> LazyResult[Any]:
    """Pass ``value`` to the first task, its result to the second, and so on.

    :raises ConfigurationError: without a task, or if an argument is not one.
    """
    if not tasks:
        raise ConfigurationError("pipeline(value, *tasks)", "needs at least one task")
    if isinstance(value, Task):
        raise ConfigurationError(
            "pipeline(value, *tasks)",
            f"the value is the task {value.name!r} itself; begin with {value.name}(...)",
        )
    for each in tasks:
        if not isinstance(each, Task):
            raise ConfigurationError(
                "pipeline(value, *tasks)", f"takes functions decorated with @cs.task, not {each!r}"
            )
        value = each(value)
    result: LazyResult[Any] = value
    return result


def _taken(value: T) -> T:
    """Return the value of a route: by name, so that a task in another process may return a router."""
    return value


_ROUTE = CallSettings(structural(_taken, "route"))
_LIST = CallSettings(structural(list, "sequence"))
