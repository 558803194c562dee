"""The calls that a map stands for, one for each item. Pure."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from cascade.spec import Call, LazyResult, MapCall, call_of, check_lengths, column_of

Columns = Mapping[str, tuple[Any, ...]]


def has_to_wait(call: MapCall) -> bool:
    """Return whether only the run can tell how many items there are, or whether there are any."""
    return call.condition is not None or any(isinstance(items, LazyResult) for items in call.kwargs.values())


def columns_of(call: MapCall, value_of: Callable[[LazyResult[Any]], Any]) -> Columns:
    """Return the items for each parameter, now that the values of lazy ones are there.

    :raises TaskCallError: if one turned out to be no iterable.
    """
    columns = {}
    for name, items in call.kwargs.items():
        if isinstance(items, LazyResult):
            given_by = call_of(items).definition.name
            columns[name] = column_of(call.definition, name, value_of(items), given_by=given_by)
        else:
            columns[name] = items
    return columns


def calls_of(call: MapCall, columns: Columns) -> list[Call]:
    """Return one call for each item.

    :raises MapLengthError: if the columns differ in length.
    """
    check_lengths(call.definition.name, {name: len(items) for name, items in columns.items()})
    names, fixed = tuple(columns), call.fixed
    return [
        Call(
            call.definition,
            (),
            {**fixed, **dict(zip(names, row, strict=True))},
            call.policies,
            call.predecessors,
        )
        for row in zip(*columns.values(), strict=True)
    ]
