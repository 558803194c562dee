"""The calls that a call may depend on, and the order in which to walk a declaration. No I/O."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any, Literal

from cascade.interfaces import UsageError
from cascade.spec import PLAIN, Call, Input, InputCall, LazyResult, MapCall, RouteCall, Search, call_of

Role = Literal["argument", "condition", "amount", "before", "route"]

Dependencies = list[tuple[Call, Role]]

DEPENDS_ON_ITSELF = (
    "depends on itself, because a list or dict among its arguments was changed after the call; pass a copy"
)
"""How an error describes a task in a cycle: a declaration has none unless a container is changed later."""


def dependencies_of(call: Call, search: Search) -> Dependencies:
    """Return every call that this one may depend on, and in which role.

    The order is that in which a graph builds them: condition, amounts, arguments, predecessors.
    Routes come last, because they are built after all others, if at all.
    """
    found: Dependencies = []
    if call.condition is not None:
        found.append((call_of(call.condition.lazy), "condition"))
    if call.policies.demands:
        amounts = call.policies.demands.values()
        found += [(call_of(lazy), "amount") for lazy in amounts if isinstance(lazy, LazyResult)]
    fixed = call.fixed.values() if isinstance(call, MapCall) else ()
    found += [
        (call_of(lazy), "argument")
        for argument in (*call.args, *call.kwargs.values(), *fixed)
        for lazy in search.inside(argument)
    ]
    found += [(call_of(lazy), "before") for lazy in call.predecessors]
    found += [(alternative, "route") for alternative in alternatives_of(call)]
    return found


def inputs_of(call: Call, search: Search) -> tuple[tuple[LazyResult[Any], ...], bool]:
    """Return what a call takes the values of, and whether any of it stands inside a container.

    :raises UsageError: if a lazy result stands where no value can take its place.
    """
    demands = call.settings.policies.demands
    found: list[LazyResult[Any]] = (
        [a for a in demands.values() if isinstance(a, LazyResult)] if demands else []
    )
    nested = False
    for argument in (*call.args, *call.kwargs.values()) if call.kwargs else call.args:
        if type(argument) in PLAIN:
            continue
        if isinstance(argument, LazyResult):
            found.append(argument)
        else:
            inside = _inside(call, argument, search)
            if inside:
                nested = True
                found += inside
    return tuple(found), nested


def alternatives_of(call: Call) -> list[Call]:
    """Return the calls one of which may be made: the routes, and the one to be made if the condition is false."""
    found = list(call.routes.values()) if isinstance(call, RouteCall) else []
    if call.condition is not None and isinstance(call.condition.otherwise, LazyResult):
        found.append(call.condition.otherwise)
    return [call_of(lazy) for lazy in found]


def walk(lazies: Iterable[LazyResult[Any]]) -> Iterator[Call]:
    """Yield every call that ``lazies`` reach, each once, routes that may not be taken too."""
    for call, _ in dependencies_first(map(call_of, lazies), Search()):
        yield call


def dependencies_first(
    calls: Iterable[Call], search: Search, known: Callable[[Call], bool] = frozenset[Call]().__contains__
) -> Iterator[tuple[Call, Dependencies]]:
    """Yield every call that ``calls`` reach and its dependencies: each once, after those that it depends on.

    Skips calls that are ``known`` and what only they reach. Calls that wait for themselves are
    yielded in some order.
    """
    stack = [*calls][::-1]
    opened: dict[Call, Dependencies] = {}
    finished: set[Call] = set()
    while stack:
        call = stack[-1]
        if call not in opened and not known(call):
            found = opened[call] = dependencies_of(call, search)
            stack += [needed for needed, _ in reversed(found) if needed not in opened]
            continue
        stack.pop()
        if call in opened and call not in finished:
            finished.add(call)
            yield call, opened[call]


def inputs_among(calls: Iterable[Call]) -> list[Input]:
    """Return the inputs from outside among calls."""
    return [call.source for call in calls if isinstance(call, InputCall)]


def _inside(call: Call, argument: object, search: Search) -> list[LazyResult[Any]]:
    try:
        return search.inside(argument)
    except UsageError as exc:
        raise call.definition.call_error(str(exc)) from None
