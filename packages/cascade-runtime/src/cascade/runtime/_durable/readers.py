"""Reading recorded runs, for lists that people look at: nothing is changed, and no run is disturbed."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from cascade.interfaces import (
    RecordedStatus,
    RunSummary,
    StateUnavailable,
    StepState,
    StepSummary,
    UnreadableResultError,
)
from cascade.interfaces.logs import get_logger
from cascade.runtime._durable.folder import RunPaths, check, recorded
from cascade.runtime._durable.results import ResultCodec, Stored
from cascade.runtime._durable.schema import reading
from cascade.runtime._storage.database import cause_of
from cascade.runtime._storage.process_lock import is_held

_log = get_logger("cascade.state")

_RUN = "SELECT run_id, target, status, created, ended, error, by, (SELECT count(*) FROM attempt) FROM run"
_SHOWN = f"CASE WHEN state = {StepState.COMPLETED:d} AND error <> '' THEN {StepState.FAILED:d} ELSE state END"
"""The state that lists show: a step whose failure a call kept has a result, and counts as failed."""
_STEPS = f"""
SELECT step.key, name, {_SHOWN} AS shown, starts, tries, began, ended, error, coalesce(size, 0)
FROM step LEFT JOIN result ON result.key = step.key
WHERE ? IS NULL OR shown = ? ORDER BY step.key
"""
_VALUES = """
SELECT result.key, encoding, payload, mac, file, size FROM result JOIN step ON step.key = result.key
WHERE state = ? ORDER BY result.key
"""


def read_runs(folder: Path, run_id: str | None = None) -> Iterator[RunSummary]:
    """Yield the runs in a folder, or the one with an id; one that cannot be read is logged and left out.

    :raises StateUnavailable: if the folder may not be used.
    """
    if not folder.exists():
        return
    check(folder)
    for paths in recorded(folder) if run_id is None else [RunPaths.of(folder, run_id)]:
        try:
            found = read_run(paths)
        except (sqlite3.Error, OSError, TypeError, ValueError) as exc:
            _log.warning("state %s cannot be read: %s", paths.database, cause_of(exc))
            continue
        if found is not None and run_id in (None, found.run_id):
            yield found


def read_run(paths: RunPaths) -> RunSummary | None:
    """Return one run; None if it is unknown, or was never started.

    :raises sqlite3.Error: if its file is damaged.
    :raises ValueError: if its file is damaged.
    :raises TypeError: if its file is damaged.
    :raises StateUnavailable: if its file is not a run of this version.
    :raises OSError: if it cannot be read.
    """
    if not paths.database.exists():
        return None
    with reading(paths.database) as connection:
        row = None if connection is None else connection.execute(_RUN).fetchone()
        if connection is None or row is None:
            return None
        counts = dict(connection.execute(f"SELECT {_SHOWN} AS shown, count(*) FROM step GROUP BY shown"))
    return _summary(row, counts, live=is_held(paths.lock))


def read_steps(paths: RunPaths, state: StepState | None) -> Iterator[StepSummary]:
    """Yield the steps of a run.

    :raises StateUnavailable: if its file cannot be read.
    """
    if not paths.database.exists():
        return
    try:
        with reading(paths.database) as connection:
            if connection is None:
                return
            for key, name, found, starts, tries, began, ended, error, size in connection.execute(
                _STEPS, (state, state)
            ):
                yield StepSummary(
                    key, name or "", StepState(found), starts, tries, began or 0.0, ended, error or "", size
                )
    except (sqlite3.Error, ValueError) as exc:
        raise StateUnavailable(str(paths.database), cause_of(exc)) from exc


def read_values(paths: RunPaths, codec: ResultCodec) -> Iterator[tuple[str, Any]]:
    """Yield the values of a run's steps by key; the error itself for one that cannot be read.

    :raises StateUnavailable: if its file cannot be read.
    """
    if not paths.database.exists():
        return
    try:
        with reading(paths.database) as connection:
            for row in () if connection is None else connection.execute(_VALUES, (StepState.COMPLETED,)):
                stored = Stored(*row)
                try:
                    yield stored.key, codec.decode(stored, paths.folder)
                except UnreadableResultError as exc:
                    yield stored.key, exc
    except (sqlite3.Error, ValueError) as exc:
        raise StateUnavailable(str(paths.database), cause_of(exc)) from exc


def _summary(row: tuple[Any, ...], counts: dict[int, int], *, live: bool) -> RunSummary:
    run_id, target, text, created, ended, error, by, attempts = row
    status = RecordedStatus(text)
    if status is RecordedStatus.RUNNING and not live:
        status = RecordedStatus.INTERRUPTED
    by_state = {StepState(state): number for state, number in counts.items()}
    return RunSummary(run_id, target, status, attempts, created, ended, error or "", by or "", by_state)
