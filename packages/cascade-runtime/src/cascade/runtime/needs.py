"""What a call may need of others, and what for. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, Literal

from cascade.runtime.arguments import Search
from cascade.spec import Call, Input, InputCall, LazyResult, MapCall, RouteCall, call_of

Role = Literal["argument", "condition", "amount", "before", "route"]


def needs_of(call: Call, search: Search) -> list[tuple[Call, Role]]:
    """Return every call that this one may need, of all its routes too, and what for."""
    fixed = call.fixed.values() if isinstance(call, MapCall) else ()
    needs: list[tuple[Call, Role]] = [
        (call_of(lazy), "argument")
        for argument in (*call.args, *call.kwargs.values(), *fixed)
        for lazy in search.inside(argument)
    ]
    if isinstance(call, RouteCall):
        needs += [(call_of(lazy), "route") for lazy in call.routes.values()]
    if call.condition is not None:
        needs.append((call_of(call.condition.lazy), "condition"))
    if call.policies.demands:
        amounts = call.policies.demands.values()
        needs += [(call_of(lazy), "amount") for lazy in amounts if isinstance(lazy, LazyResult)]
    return needs + [(call_of(lazy), "before") for lazy in call.predecessors]


def walk(lazies: Iterable[LazyResult[Any]]) -> Iterator[Call]:
    """Yield every call that ``lazies`` reach, each once, routes that may not be taken too."""
    seen: set[Call] = set()
    search = Search()
    stack = [call_of(lazy) for lazy in lazies]
    while stack:
        call = stack.pop()
        if call not in seen:
            seen.add(call)
            yield call
            stack.extend(needed for needed, _ in needs_of(call, search))


def inputs_among(calls: Iterable[Call]) -> list[Input]:
    """Return the inputs from outside among calls."""
    return [call.source for call in calls if isinstance(call, InputCall)]
