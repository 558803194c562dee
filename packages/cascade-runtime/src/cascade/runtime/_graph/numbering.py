"""The numbers of calls among those of their name in one declaration, from which their keys are made. No I/O."""

from __future__ import annotations

from collections.abc import Callable, Generator
from typing import NamedTuple

from cascade.runtime._graph.builder import NODES_PER_STEP
from cascade.runtime._graph.dependencies import Dependencies, dependencies_first
from cascade.spec import Call, Search


class Declared(NamedTuple):
    """Place of a call that was numbered before it is built."""

    number: int
    origin: Call | None
    """The route, or the call with a condition, whose expansion adds the call, if the first build does not."""


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
            declared[call] = Declared(self.take(call.definition.name), origins.get(call))
            if number % NODES_PER_STEP == 0:
                yield
