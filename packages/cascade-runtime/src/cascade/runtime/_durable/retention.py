"""The deletion of runs: whole files, of runs that have ended; an interrupted run is deleted only by its name."""

from __future__ import annotations

import contextlib
import sqlite3
from pathlib import Path

from cascade.interfaces import RunInUseError, StateUnavailable
from cascade.runtime._durable.crash_points import reach
from cascade.runtime._durable.folder import RunPaths, recorded, take_claim
from cascade.runtime._durable.schema import reading
from cascade.runtime._storage.process_lock import is_held


def forget(paths: RunPaths, run_id: str) -> None:
    """Delete a run with all its files, whatever its status; do nothing if it is unknown.

    :raises RunInUseError: if a live process has it.
    :raises OSError: if a file cannot be deleted.
    """
    if paths.database.exists() or paths.lock.exists():
        claim = take_claim(paths.lock, run_id)
        try:
            _delete(paths)
        finally:
            claim.release()


def prune(folder: Path, *, keep: float | None, keep_runs: int | None, now: float) -> int:
    """Delete runs that ended more than ``keep`` seconds ago, and the oldest beyond ``keep_runs``; return how many.

    Candidates are found by the time of their files, so that only those few are opened.

    :raises OSError: if a file cannot be deleted.
    """
    runs = sorted(recorded(folder), key=_modified, reverse=True)
    deleted = 0
    for number, paths in enumerate(runs):
        surplus = keep_runs is not None and number >= keep_runs
        old = keep is not None and now - _modified(paths) >= keep
        if (surplus or old) and _has_ended(paths, before=None if surplus or keep is None else now - keep):
            with contextlib.suppress(RunInUseError):
                forget(paths, paths.name)
                deleted += 1
    _finish(folder)
    return deleted


def _delete(paths: RunPaths) -> None:
    """Delete the files of a claimed run: first the database, so that the run is gone at once, last the lock."""
    paths.database.unlink(missing_ok=True)
    reach("pruning")
    for path in (*paths.logs, *paths.large_results(), *paths.folder.glob(f"{paths.name}.db.v*"), paths.lock):
        path.unlink(missing_ok=True)


def _finish(folder: Path) -> None:
    """Finish the deletions whose process died in between: a lock is left, and no database."""
    for lock in folder.glob("*.lock"):
        paths = RunPaths(folder, lock.name.removesuffix(".lock"))
        if not paths.database.exists() and not is_held(lock):
            with contextlib.suppress(RunInUseError):
                forget(paths, paths.name)


def _has_ended(paths: RunPaths, *, before: float | None) -> bool:
    """Return whether the run has an end; one that a process has continued has none. Of any version."""
    ended = None
    with (
        contextlib.suppress(sqlite3.Error, StateUnavailable),
        reading(paths.database, older=True) as connection,
    ):
        if connection is not None:
            (ended,) = connection.execute("SELECT ended FROM run").fetchone() or (None,)
    return ended is not None and (before is None or ended <= before)


def _modified(paths: RunPaths) -> float:
    try:
        return paths.database.stat().st_mtime
    except FileNotFoundError:  # another process has deleted it
        return 0.0
