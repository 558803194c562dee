"""Lazy results in pandas objects: refused where a task would get them as values; each look is bounded."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd  # type: ignore[import-untyped]
import pytest

from cascade.interfaces import TaskCallError
from cascade.spec import call_of, find_lazies, task


@task
def one(number: int = 1) -> int:
    return number


@task
def take(value: Any) -> Any:
    return value


LAZY = one()
FIRST = 1_000
"""How many values of an object are looked at."""


class Prices(pd.Series): ...  # type: ignore[misc]


class Table(pd.DataFrame):  # type: ignore[misc]
    """A frame with an attribute of its own."""

    _metadata = ("unit",)


def objects(*values: Any) -> Any:
    """Return an array of objects that is filled item by item: pandas 2 makes none of a list with a lazy result."""
    made = np.empty(len(values), dtype=object)
    for number, value in enumerate(values):
        made[number] = value
    return made


def frame_with(x: Any) -> Any:
    """Return a frame of two columns, one of which holds numbers."""
    return pd.DataFrame({"n": [1.0, 2.0], "x": objects(None, x)})


REFUSED: list[Callable[[Any], Any]] = [
    lambda x: pd.Series(objects(x)),
    lambda x: pd.Series(objects(1, x, "b")),
    lambda x: pd.Series([1], index=pd.Index(objects(x))),
    lambda x: pd.Index(objects(x, x)),
    lambda x: Prices(objects(x)),
    frame_with,
    lambda x: frame_with(x).T,
    lambda x: pd.DataFrame(objects(x, 1).reshape(1, 2)),
    lambda x: pd.DataFrame([[1]], columns=pd.Index(objects(x))),
    lambda x: pd.DataFrame([[1]], index=pd.Index(objects(x))),
    lambda x: pd.DataFrame(objects(1, x).reshape(1, 2), columns=["a", "a"]),
    lambda x: Table({"x": objects(x)}),
    lambda x: pd.Series(objects(*[None] * (FIRST - 1), x)),
    lambda x: pd.DataFrame({n: objects(*[None] * 9, x) for n in range(FIRST // 10)}),
]


@pytest.mark.parametrize("make", REFUSED)
def test_a_lazy_result_in_a_pandas_object_is_refused_at_the_call(make: Callable[[Any], Any]) -> None:
    """The message names the task, the class and what to write instead; no task gets the lazy result as a value."""
    for wrapped in (make, lambda x: [make(x)], lambda x: {"k": make(x)}):
        with pytest.raises(
            TaskCallError, match=r"task 'take': a lazy result stands in a .*; pass it as an argument"
        ):
            take(wrapped(LAZY))
        assert find_lazies(wrapped(7)) == []
        take(wrapped(7))


def test_a_series_of_lazy_results_may_be_mapped_over() -> None:
    """Its items are arguments."""
    items = [one(1), one(2)]
    assert list(call_of(take.map(value=pd.Series(objects(*items)))).kwargs["value"]) == items


@pytest.mark.parametrize(
    "value",
    [
        pd.Series([], dtype=object),
        pd.Series(["a", "b"]),
        pd.Series([1.0, None]),
        pd.Series(["a", "b"], dtype="category"),
        pd.Series(["a", None], dtype="string"),
        pd.Series([1, None], dtype="Int64"),
        pd.Series(pd.to_datetime(["2026-11-23"], utc=True)),
        pd.Series(pd.period_range("2026", periods=2, freq="D")),
        pd.Series(pd.arrays.SparseArray([0, 1])),
        pd.Series([[1], {"a": 2}]),
        pd.DataFrame(),
        pd.DataFrame(index=[1, 2]),
        pd.DataFrame({"a": [1], "b": ["x"], "c": [None]}),
        pd.DataFrame(columns=["a"]),
        pd.MultiIndex.from_product([["a", "b"], [1, 2]]),
        pd.RangeIndex(10),
        pd.IntervalIndex.from_breaks([0, 1, 2]),
        pd.DataFrame(np.zeros((2, 2)), columns=pd.MultiIndex.from_product([["a"], [1, 2]]), index=["i", "j"]),
    ],
    ids=lambda value: type(value).__name__,
)
def test_pandas_objects_without_lazy_results_pass(value: Any) -> None:
    """Of every kind of values, without a warning of pandas."""
    assert find_lazies(value) == []
    take(value)


@pytest.mark.parametrize(
    "make",
    [
        lambda x: pd.Series(objects(*[1] * FIRST, x)),
        lambda x: pd.DataFrame({n: objects(*[1] * 10, x) for n in range(FIRST // 10)}),
        lambda x: pd.DataFrame(objects(*[1] * FIRST, x).reshape(1, -1)),
    ],
)
def test_only_the_first_values_are_looked_at(make: Callable[[Any], Any]) -> None:
    """So a call with a large frame of texts is not slow; what comes later is a value."""
    assert find_lazies(make(LAZY)) == []


def test_the_message_is_one_line_with_the_remedy() -> None:
    """As for an array."""
    with pytest.raises(TaskCallError) as raised:
        take(pd.Series(objects(LAZY)))
    assert str(raised.value) == (
        "task 'take': a lazy result stands in a Series, in which no value can take its place; pass it as an argument "
        "of its own, or in a list, tuple, dict, set or dataclass; its signature is take(value: Any) -> Any"
    )


def test_other_objects_of_pandas_are_looked_into_like_any_object() -> None:
    """A time, a group or an accessor holds no column of values."""
    frame = pd.DataFrame({"a": [1, 2]})
    for value in (pd.Timestamp("2026-11-23"), pd.Timedelta(1), frame.groupby("a"), frame.iloc):
        assert find_lazies(value) == []
