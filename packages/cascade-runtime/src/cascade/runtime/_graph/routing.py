"""Choose a route, and count what all routes may need until one is chosen. No I/O."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from cascade.interfaces import RouteError
from cascade.runtime._graph.dependencies import alternatives_of, dependencies_of
from cascade.spec import Call, LazyResult, RouteCall, Search


def chosen(call: RouteCall, choice: Any) -> LazyResult[Any]:
    """Return the route for a selector's value.

    :raises RouteError: if there is none for it.
    """
    try:
        return call.routes[choice]
    except (KeyError, TypeError):
        raise RouteError(choice, tuple(call.routes)) from None


class RouteRefCounts:
    """Counts for each call how many undecided routes and conditions, and calls that are counted themselves, may need it.

    So what routes share is walked once, and routes inside routes cost no more than others.
    """

    __slots__ = ("_dependencies", "counts")

    def __init__(self) -> None:
        self.counts: dict[Call, int] = {}
        """How often each call is needed; calls that are not needed are absent."""
        self._dependencies: dict[Call, list[Call]] = {}

    def add(self, chooser: Call) -> None:
        """Count what the alternatives of a call reach, now that one of them may be taken."""
        stack, search, counts = alternatives_of(chooser), Search(), self.counts
        while stack:
            call = stack.pop()
            needed_by = counts.get(call, 0)
            counts[call] = needed_by + 1
            if not needed_by:
                found = self._dependencies[call] = [needed for needed, _ in dependencies_of(call, search)]
                stack += found

    def remove(self, chooser: Call) -> Iterator[Call]:
        """Take back what :meth:`add` counted; yield the calls that are no longer needed."""
        stack, counts = alternatives_of(chooser), self.counts
        while stack:
            call = stack.pop()
            counts[call] -= 1
            if not counts[call]:
                del counts[call]
                stack += self._dependencies.pop(call)
                yield call
