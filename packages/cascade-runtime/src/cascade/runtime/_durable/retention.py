"""The deletion of runs: whole files, of runs that have ended; an interrupted run is deleted only by its name."""

from __future__ import annotations

import contextlib
import math
import sqlite3
import threading
from pathlib import Path

from cascade.interfaces import Clock, RunInUseError, StateUnavailable
from cascade.runtime._durable.crash_points import reach
from cascade.runtime._durable.folder import RunPaths, recorded, take_claim
from cascade.runtime._durable.schema import reading
from cascade.runtime._storage.process_lock import is_held

LIST_SECONDS = 3600.0
"""Until a folder is listed again when a run ends."""


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


class Retention:
    """Deletes the runs of a folder that ended long ago, and the oldest of too many.

    Candidates are found by the time of their files, so that only those few are opened. The folder is listed once an hour, because
    other processes may record runs in it; in between, the end of a run looks at no other one that stays.

    :param keep: seconds for which runs that have ended are kept; None: for ever.
    :param keep_runs: how many runs are kept; None: all.
    """

    def __init__(self, folder: Path, *, keep: float | None, keep_runs: int | None, clock: Clock) -> None:
        self._folder, self._keep, self._keep_runs, self._clock = folder, keep, keep_runs, clock
        self._modified: dict[str, float] = {}
        """When the file of each run changed, by its name; the oldest first."""
        self._list_at = -math.inf
        # runs end in several threads
        self._lock = threading.Lock()

    def prune(self) -> int:
        """List the folder, and delete what is not kept; return how many runs.

        :raises OSError: if a file cannot be deleted.
        """
        found = sorted((_modified(paths), paths.name) for paths in recorded(self._folder))
        with self._lock:
            self._modified = {name: modified for modified, name in found}
            self._list_at = self._clock.monotonic() + LIST_SECONDS
        deleted = self._delete()
        _finish(self._folder)
        return deleted

    def ended(self, paths: RunPaths) -> None:
        """Take a run that has ended, and delete what is no longer kept.

        :raises OSError: if a file cannot be deleted.
        """
        if self._clock.monotonic() >= self._list_at:
            self.prune()
            return
        with self._lock:
            self._modified.pop(paths.name, None)
            self._modified[paths.name] = _modified(paths)
        self._delete()

    def _delete(self) -> int:
        deleted, now = 0, self._clock.now()
        while (found := self._next(now)) is not None:
            paths, before = found
            if _has_ended(paths, before=before):
                with contextlib.suppress(RunInUseError):
                    forget(paths, paths.name)
                    deleted += 1
        return deleted

    def _next(self, now: float) -> tuple[RunPaths, float | None] | None:
        """Take out the oldest run if it is too old, or one too many; return it, and the time by which it has to have ended."""
        with self._lock:
            name, modified = next(iter(self._modified.items()), ("", now))
            surplus = self._keep_runs is not None and len(self._modified) > self._keep_runs
            old = self._keep is not None and now - modified >= self._keep
            if not name or not (surplus or old):
                return None
            del self._modified[name]
        return RunPaths(self._folder, name), None if surplus or self._keep is None else now - self._keep


def _delete(paths: RunPaths) -> None:
    """Delete the files of a claimed run: first the database, so that the run is gone at once, last the lock."""
    for path in paths.all():
        path.unlink(missing_ok=True)
        if path == paths.database:
            reach("pruning")


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
