"""The resolution of a step in doubt: what a person has found out about it."""

from __future__ import annotations

import sqlite3
from typing import Any, Literal

from cascade.interfaces import StateUnavailable, StepState, UsageError
from cascade.runtime._durable.folder import RunPaths, take_claim
from cascade.runtime._durable.results import ResultCodec, with_own_file
from cascade.runtime._durable.run_file import RunFile
from cascade.runtime._durable.schema import open_to_write
from cascade.runtime._storage.database import cause_of

Resolution = Literal["value", "again", "fail"]


_NAMED = 5
"""How many steps in doubt a message names."""


def resolve(
    paths: RunPaths,
    run_id: str,
    key: str,
    resolution: Resolution,
    value: Any,
    *,
    codec: ResultCodec,
    now: float,
) -> None:
    """End the doubt about a step.

    :raises UsageError: if the run is unknown, or the step is not in doubt.
    :raises RunInUseError: if a live process has the run.
    :raises UnstorableValueError: if the value cannot be recorded.
    :raises StateUnavailable: if the file cannot be used.
    """
    if not paths.database.exists():
        raise UsageError(
            f"run {run_id!r} is not recorded in {paths.folder}; cascade history --state {paths.folder} lists the runs"
        )
    try:
        claim = take_claim(paths.lock, run_id)
        try:
            file = RunFile(open_to_write(paths, power_safe=True), paths)
            try:
                _check(file, run_id, key)
                _write(file, key, resolution, value, codec=codec, now=now)
            finally:
                file.close()
        finally:
            claim.release()
    except (sqlite3.Error, OSError) as exc:
        if isinstance(exc, StateUnavailable):
            raise
        raise StateUnavailable(str(paths.database), cause_of(exc)) from exc


def _check(file: RunFile, run_id: str, key: str) -> None:
    found = file.state_of(key)
    if found is StepState.IN_DOUBT:
        return
    in_doubt = [f"step {each!r} is" for each in file.keys_in(StepState.IN_DOUBT)[:_NAMED]]
    others = ", ".join(in_doubt) or "no step is: run it again with its run id"
    state = "unknown" if found is None else found.name.lower()
    raise UsageError(f"step {key!r} is not in doubt: it is {state}; in run {run_id!r} {others}")


def _write(
    file: RunFile, key: str, resolution: Resolution, value: Any, *, codec: ResultCodec, now: float
) -> None:
    file.find_large()
    file.continue_last_attempt()
    if resolution == "again":
        file.transact(lambda: file.delete([key]))
    elif resolution == "fail":
        file.transact(lambda: file.fail(key, "declared as failed by a person", now=now))
    else:
        stored = with_own_file(codec.encode(key, value), file.paths)
        file.transact(lambda: file.keep(StepState.COMPLETED, stored, now=now, event=(None, "")))
