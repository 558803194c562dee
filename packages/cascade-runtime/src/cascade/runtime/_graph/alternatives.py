"""Calls that a route or a condition may choose: their numbers, and what they need until one is chosen. No I/O."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator
from typing import Any

from cascade.interfaces import RouteError
from cascade.runtime._graph.builder import NODES_PER_STEP
from cascade.runtime._graph.dependencies import (
    Dependencies,
    alternatives_of,
    dependencies_first,
    dependencies_of,
)
from cascade.spec import Call, LazyResult, RouteCall, Search

Declared = tuple[int, Call | None]
"""Place of a call that was numbered before it is built: its number, and the route, or the call with a condition,
whose expansion adds the call, if the first build does not."""


class CallNumbers:
    """The numbers of the calls that one graph declares.

    A call gets its number when it is built. What a route, a condition or another graph may reach gets it ahead,
    so that it does not depend on what is chosen, or on the order of events.
    """

    __slots__ = ("ahead", "counts")

    def __init__(self) -> None:
        self.counts: dict[str, int] = {}
        """How many calls of each name are numbered."""
        self.ahead: dict[Call, Declared] | None = None
        """Calls that were numbered before they are built, if they ever are; None until one may be."""

    def begin_ahead(self) -> dict[Call, Declared]:
        """Return the calls that have their numbers before they are built; from now on there may be some."""
        if self.ahead is None:
            self.ahead = {}
        return self.ahead

    def take(self, name: str) -> int:
        """Return the next number of a name."""
        number = self.counts.get(name, 0)
        self.counts[name] = number + 1
        return number

    def declare(
        self, calls: list[Call], is_numbered: Callable[[Call], bool], chooser: Call | None = None
    ) -> Generator[None, None, None]:
        """Give numbers to calls, and all that they reach, before they are built; ``chooser`` may choose them.

        Yield between steps, in which nothing else may be declared here.
        """
        declared = self.begin_ahead()
        found: list[tuple[Call, Dependencies]] = []
        for each in dependencies_first(calls, Search(), is_numbered):
            found.append(each)
            if len(found) % NODES_PER_STEP == 0:
                yield
        origins: dict[Call, Call | None] = dict.fromkeys(calls, chooser)
        for number, (call, dependencies) in enumerate(reversed(found), 1):
            origin = origins.get(call)
            for needed, role in dependencies:
                origins.setdefault(needed, call if role == "route" else origin)
            if number % NODES_PER_STEP == 0:
                yield
        for number, (call, _) in enumerate(found, 1):
            declared[call] = self.take(call.definition.name), origins.get(call)
            if number % NODES_PER_STEP == 0:
                yield


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
