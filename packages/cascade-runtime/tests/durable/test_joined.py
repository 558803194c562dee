"""A start and a value in one statement leave the same rows as one after the other."""

import contextlib
import sqlite3
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from cascade.interfaces import RunInfo, StepEvents, StepState
from cascade.runtime._durable import schema
from cascade.runtime._durable.folder import RunPaths
from cascade.runtime._durable.results import ResultCodec
from cascade.runtime._durable.run_file import RunFile
from cascade.runtime._durable.writer import (
    Discard,
    Expand,
    Fail,
    Keep,
    Operation,
    Retry,
    Start,
    Unkept,
    joined,
)
from cascade.runtime._storage.codec import Signer

CODEC = ResultCodec(Signer(b"k" * 32), pickled=False, max_value_bytes=100)
KEYS = st.sampled_from(["a:0", "a:0~1/b:0", "a:0~1/b:1"])
STATES = st.sampled_from([StepState.STARTED, StepState.IN_DOUBT])
TIMES = st.integers(1, 9).map(float)
VALUES = st.integers(0, 9) | st.just("x" * 200)
EVENTS = st.builds(StepEvents, seq=st.integers(0, 9), token=st.just("token"))
STARTS = st.builds(Start, KEYS, STATES, st.sampled_from("fg"), st.binary(max_size=1), st.just(b"c"), TIMES)
KEEPS = st.builds(Keep, KEYS, VALUES, TIMES, EVENTS)
OTHERS = st.one_of(
    st.builds(Retry, KEYS, st.integers(1, 3), TIMES, st.just("bad")),
    st.builds(Expand, KEYS, st.just("plan"), TIMES, EVENTS, replaces=st.sampled_from([None, "a:0~1/"])),
    st.builds(Unkept, KEYS),
    st.builds(Fail, KEYS, st.just("bad"), TIMES),
    st.builds(Discard, st.lists(KEYS, max_size=2)),
)
BATCHES = st.lists(st.lists(STARTS | KEEPS | STARTS | KEEPS | OTHERS, max_size=8), max_size=3)


def rows_after(batches: list[list[Operation]], *, join: bool) -> list[tuple[Any, ...]]:
    """Apply batches, each in an attempt of its own, to the tables of a new run; return all rows."""
    with contextlib.closing(sqlite3.connect(":memory:", isolation_level=None)) as connection:
        connection.executescript(schema._SCHEMA)
        file = RunFile(connection, RunPaths(Path(), "night"))
        for batch in batches:
            file.begin_attempt(RunInfo("night", "f"), now=0.0, kept=0)
            for operation in joined(batch) if join else batch:
                operation.error = None
                operation.apply(file, CODEC)
        return [
            tuple(row)
            for table in ("step", "result")
            for row in connection.execute(f"SELECT * FROM {table} ORDER BY key")
        ]


def start(key: str) -> Start:
    return Start(key, StepState.STARTED, "f", b"", b"", 1.0)


def keep(key: str) -> Keep:
    return Keep(key, 1, 2.0, StepEvents())


@pytest.mark.full
@settings(max_examples=300)
@given(BATCHES)
@example([[start("a"), Retry("a", 1, 3.0, "bad")], [start("a"), keep("a")]])
@example([[start("a"), keep("a"), Fail("a", "bad", 3.0), start("a"), keep("a")]])
def test_joined_operations_leave_the_same_rows(batches: list[list[Operation]]) -> None:
    """Whatever stands between the start of a step and its value, and in whichever attempts they are."""
    for operation in (each for batch in batches for each in batch):
        operation.encode(CODEC)
    apart = rows_after(batches, join=False)
    assert rows_after(batches, join=True) == apart
