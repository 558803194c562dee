"""The arguments of a map's items, by parameter. No I/O."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Iterator, Mapping
from itertools import islice
from typing import Any

from cascade.spec import LazyResult, MapCall, Search, call_of, check_lengths, column_of

Columns = Mapping[str, tuple[Any, ...]]


def has_to_wait(call: MapCall) -> bool:
    """Return whether the items, or whether there are any, are known only during the run."""
    return call.condition is not None or any(isinstance(items, LazyResult) for items in call.kwargs.values())


def columns_of(
    call: MapCall, value_of: Callable[[LazyResult[Any]], Any], is_plain: Callable[[LazyResult[Any]], bool]
) -> Generator[None, None, tuple[Columns, Iterator[LazyResult[Any]] | None]]:
    """Return the items for each parameter, now that the values of lazy ones are there; yield between steps.

    With them come the lazy results among the items, in their order, or None if there are none.
    ``is_plain`` returns whether the value of a lazy one is known to hold none.

    :raises TaskCallError: if one turned out not to be iterable.
    :raises MapLengthError: if the columns differ in length.
    """
    columns: dict[str, tuple[Any, ...]] = {}
    search, found = Search(), False
    for name, items in call.kwargs.items():
        if isinstance(items, LazyResult):
            given_by = call_of(items).definition.name
            value = yield from _read(value_of(items))
            columns[name] = column_of(call.definition, name, value, given_by=given_by)
            yield
            if is_plain(items):
                continue
        else:
            columns[name] = items
        yield from search.look_ahead(columns[name])
        found |= bool(search.inside(columns[name]))
    check_lengths(call.definition.name, {name: len(items) for name, items in columns.items()})
    return columns, _lazies_in(columns, search) if found else None


def _read(value: Any) -> Generator[None, None, Any]:
    """Return a value; the items of an iterable that can be read only once, or slowly, in a list."""
    if not isinstance(value, Iterable) or isinstance(value, str | bytes | Mapping | list | tuple):
        return value
    found: list[Any] = []
    rest = iter(value)
    while some := list(islice(rest, _COPIED_PER_STEP)):
        found += some
        yield
    return found


def _lazies_in(columns: Columns, search: Search) -> Iterator[LazyResult[Any]]:
    for row in zip(*columns.values(), strict=True):
        for value in row:
            yield from search.inside(value)


_COPIED_PER_STEP = 4096
"""How many items of an iterable are taken before the caller may do other work."""
