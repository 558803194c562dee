"""A run's claim: the lock on its file."""

from __future__ import annotations

from pathlib import Path

from cascade.interfaces import RunInUseError
from cascade.runtime._storage import process_lock
from cascade.runtime._storage.process_lock import LockedError, ProcessLock


def take(path: Path, run_id: str, *, since: float | None = None) -> ProcessLock:
    """Lock a run's file, which is created if it is missing; blocks for a fraction of a second.

    :param since: the time that a refusal names as the begin of the lock, in seconds since the epoch; default: now.
    :raises RunInUseError: if a live process holds it.
    :raises OSError: if the file cannot be opened, or the system does not have this kind of lock.
    """
    try:
        return process_lock.take(path, since=since)
    except LockedError as exc:
        raise RunInUseError(run_id, pid=exc.pid, host=exc.host, since=exc.since) from None
