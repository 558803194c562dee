"""What a row of SQLite becomes."""

from collections.abc import Iterable
from typing import Any

import pytest

from cascade.interfaces import StepRecord, StepState
from cascade.runtime._durable.index import StepIndex

COMPLETED, EXPANDED, STARTED, RETRYING, IN_DOUBT = map(
    int,
    (StepState.COMPLETED, StepState.EXPANDED, StepState.STARTED, StepState.RETRYING, StepState.IN_DOUBT),
)


def index_of(kept: Iterable[tuple[Any, ...]] = (), others: Iterable[tuple[Any, ...]] = ()) -> StepIndex:
    """Return an index of rows as the file gives them, in a run whose second attempt died once."""
    return StepIndex(kept, others, last=2, deaths=1)


def test_what_a_row_leaves_out_is_empty() -> None:
    """A step without code, inputs, name, times or error has empty bytes, texts and numbers, not None."""
    index = index_of(
        [("a", None, None, COMPLETED, None, 1, 1, 0)],
        [("b", None, STARTED, None, None, 1, 1, 0, None, None, None, None)],
    )
    assert index.get("a") == StepRecord("a", StepState.COMPLETED, starts=1)
    assert index.get("b") == StepRecord("b", StepState.STARTED, starts=1)


def test_a_record_has_what_its_row_has() -> None:
    """In the right fields: of steps with a value, those that a resume compares; of others, all."""
    index = index_of(
        [("a", b"i", "f", COMPLETED, b"c", 2, 3, 1)],
        [("b", "f", IN_DOUBT, b"i", b"c", 2, 3, 1, 4.0, 5.0, 6.0, "no")],
    )
    assert index.get("a") == StepRecord("a", StepState.COMPLETED, "f", b"i", b"c", 2, 3, 1)
    assert index.get("b") == StepRecord(
        "b", StepState.IN_DOUBT, "f", b"i", b"c", 2, 3, 1, 4.0, 5.0, 6.0, "no", 1
    )
    assert index.get("c") is None
    assert type(index.get("a")) is StepRecord


def test_the_keys_of_steps_in_one_state() -> None:
    """Of those that have a value, and of those that have none; after some are forgotten, of the others."""
    index = index_of(
        [(key, b"", "f", COMPLETED, b"", 1, 1, 0) for key in "ab"],
        [(key, "f", STARTED, b"", b"", 1, 1, 0, 0.0, 0.0, 0.0, "") for key in "cd"],
    )
    assert index.kept == 2
    index.discard(["b", "d", "x"])
    assert [*index.keys()] == ["a", "c"]
    assert [*index.keys(StepState.COMPLETED)] == ["a"]
    assert [*index.keys(StepState.STARTED, StepState.IN_DOUBT)] == ["c"]
    assert [*index.keys(StepState.FAILED)] == []


def test_steps_with_a_value_are_told_from_those_with_a_plan() -> None:
    """Who asks for one of the two states does not get the steps in the other one."""
    index = index_of([("a", b"", "f", COMPLETED, b"", 1, 1, 0), ("b", b"", "f", EXPANDED, b"", 1, 1, 0)])
    assert [*index.keys(StepState.COMPLETED)] == ["a"]
    assert [*index.keys(StepState.EXPANDED, StepState.FAILED)] == ["b"]
    assert [*index.keys(StepState.COMPLETED, StepState.EXPANDED)] == ["a", "b"]


def test_a_step_is_blamed_for_no_more_deaths_than_it_has_starts() -> None:
    """It was not there when the process died before; between two attempts it is not blamed at all."""
    rows = [
        (key, "f", state, b"", b"", attempt, starts, 1, 0.0, 0.0, 0.0, "")
        for key, state, attempt, starts in (
            ("new", STARTED, 4, 1),
            ("old", IN_DOUBT, 4, 5),
            ("waits", RETRYING, 4, 5),
            ("before", STARTED, 3, 5),
        )
    ]
    index = StepIndex((), rows, last=4, deaths=3)
    deaths = {key: record.deaths for key in [*index.keys()] if (record := index.get(key)) is not None}
    assert deaths == {"new": 1, "old": 3, "waits": 0, "before": 0}


@pytest.mark.parametrize(("state", "attempt"), [(99, 1), (None, 1), ("x", 1), (COMPLETED, None)])
def test_a_row_that_cascade_has_not_written_is_refused(state: object, attempt: object) -> None:
    """A damaged file can have any value in any column; one row among others is enough."""
    with pytest.raises(ValueError, match="unknown state or number"):
        index_of([("a", b"", "f", COMPLETED, b"", 1, 1, 0), ("b", b"", "f", state, b"", attempt, 1, 0)])
    with pytest.raises(ValueError, match="unknown state or number"):
        index_of((), [("b", "f", state, b"", b"", attempt, 1, 0, 0.0, 0.0, 0.0, "")])
