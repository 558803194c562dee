"""The first values that a pandas object holds as Python objects. pandas itself is not imported."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

FIRST = 1_000
"""Values that are looked at of a Series, of an index, and of all columns of a DataFrame together."""


def reader_for(cls: type) -> Callable[[Any], list[Any]] | None:
    """Return what reads the first values of dtype object from instances of a class; None if it is none of pandas'."""
    for base in cls.__mro__:
        if base.__module__.partition(".")[0] == "pandas" and base.__name__ in _READERS:
            return _READERS[base.__name__]
    return None


def _of_frame(frame: Any) -> list[Any]:
    dtypes = frame.dtypes.to_numpy()[:FIRST]
    columns = [number for number, dtype in enumerate(dtypes) if getattr(dtype, "hasobject", False)]
    found = _of_index(frame.index) + _of_index(frame.columns)
    if columns:
        rows = frame.iloc[: max(1, FIRST // len(columns))]
        found += rows.take(columns, axis="columns").to_numpy().ravel().tolist()
    return found


def _of_series(series: Any) -> list[Any]:
    return _first(series) + _of_index(series.index)


def _of_index(index: Any) -> list[Any]:
    # of a MultiIndex, whose own values would first have to be made
    levels = getattr(index, "levels", None)
    return _first(index) if levels is None else [value for level in levels for value in _first(level)]


def _first(values: Any) -> list[Any]:
    # pandas' own types have no such attribute
    if not getattr(values.dtype, "hasobject", False):
        return []
    found: list[Any] = values.to_numpy()[:FIRST].tolist()
    return found


_READERS = {"DataFrame": _of_frame, "Series": _of_series, "Index": _of_index}
