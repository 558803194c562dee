"""Routes: which one is taken, and what all of them may need until that is known. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from cascade.interfaces import RouteError
from cascade.runtime.arguments import Search
from cascade.runtime.needs import needs_of
from cascade.spec import Call, LazyResult, RouteCall, call_of


def chosen(call: RouteCall, choice: Any) -> LazyResult[Any]:
    """Return the route for a selector's value.

    :raises RouteError: if there is none for it.
    """
    try:
        return call.routes[choice]
    except (KeyError, TypeError):
        raise RouteError(choice, tuple(call.routes)) from None


class Pins:
    """Counts for each call how many undecided routes, and calls that are counted themselves, may need it.

    So what routes share is walked once, and routes inside routes cost no more than others.
    """

    __slots__ = ("_needs", "counts")

    def __init__(self) -> None:
        self.counts: dict[Call, int] = {}
        """How often each call is held; one that nobody holds is not in here."""
        self._needs: dict[Call, list[Call]] = {}

    def hold(self, route: RouteCall) -> None:
        """Count what the routes reach, now that one of them may be taken."""
        stack, search, counts = _first(route), Search(), self.counts
        while stack:
            call = stack.pop()
            held = counts.get(call, 0)
            counts[call] = held + 1
            if not held:
                needs = self._needs[call] = [needed for needed, _ in needs_of(call, search)]
                stack += needs

    def drop(self, route: RouteCall) -> Iterator[Call]:
        """Take back what :meth:`hold` counted; yield the calls that nobody holds any more."""
        stack, counts = _first(route), self.counts
        while stack:
            call = stack.pop()
            counts[call] -= 1
            if not counts[call]:
                del counts[call]
                stack += self._needs.pop(call)
                yield call


def _first(route: RouteCall) -> list[Call]:
    return [call_of(lazy) for lazy in route.routes.values()]
