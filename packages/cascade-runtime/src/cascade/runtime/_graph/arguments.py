"""The calls whose values a call takes. No I/O."""

from __future__ import annotations

from typing import Any

from cascade.interfaces import UsageError
from cascade.spec import PLAIN, Call, LazyResult, Search


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


def _inside(call: Call, argument: object, search: Search) -> list[LazyResult[Any]]:
    try:
        return search.inside(argument)
    except UsageError as exc:
        raise call.definition.call_error(str(exc)) from None
