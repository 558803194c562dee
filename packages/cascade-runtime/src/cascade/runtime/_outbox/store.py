"""The thread of a sender's file: it opens the file, and serves what waits in one commit."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from cascade.interfaces import Clock, OutboxUnavailable
from cascade.runtime._outbox.file import OutboxFile, OutboxPaths
from cascade.runtime._outbox.settings import OutboxSettings
from cascade.runtime._storage import private_folder, process_lock
from cascade.runtime._storage.group_commit import Request
from cascade.runtime._storage.process_lock import LockedError
from cascade.runtime._storage.sqlite_errors import cause_of


@dataclass(slots=True, eq=False)
class Operation(Request):
    """One call of the file, within the commit of all that wait."""

    apply: Callable[[OutboxFile], Any] = field(kw_only=True)


class OutboxStore:
    """Opens a sender's file at the first operation, and again at each one until that succeeds.

    :param source: the sender's name.
    """

    def __init__(self, settings: OutboxSettings, source: str, clock: Clock) -> None:
        self._settings = settings
        self._source = source
        self._clock = clock
        self._file: OutboxFile | None = None

    def serve(self, batch: Sequence[Operation], /) -> None:
        """Apply operations in one commit; each gets the error if that fails."""
        try:
            file = self._file = self._file or open_file(self._settings, self._source, self._clock)
            with file.transact():
                for operation in batch:
                    operation.result = operation.apply(file)
        except (sqlite3.Error, OSError) as exc:
            for operation in batch:
                operation.error = exc

    def close(self) -> None:
        """Close the file."""
        if self._file is not None:
            self._file.close()


def open_file(settings: OutboxSettings, source: str, clock: Clock) -> OutboxFile:
    """Lock and open the file of a sender; blocks.

    :raises OutboxUnavailable: if it cannot be used; the message states why.
    """
    paths = OutboxPaths.of(settings.folder, source)
    try:
        private_folder.prepare(settings.folder, OutboxUnavailable)
        lock = process_lock.take(paths.lock, since=clock.now())
    except LockedError as exc:
        cause = f"is in use by process {exc.pid} on {exc.host}; give each process a source_id or a folder of its own"
        raise OutboxUnavailable(str(paths.database), cause) from None
    except OSError as exc:
        raise unavailable(settings.folder, exc) from exc
    try:
        return OutboxFile(
            paths,
            lock,
            clock=clock,
            power_safe=settings.power_safe,
            max_bytes=settings.max_bytes,
            max_age=settings.max_age,
            keep_sent=settings.ack is not None,
        )
    except BaseException as exc:
        lock.release()
        if isinstance(exc, sqlite3.Error | OSError):
            raise unavailable(paths.database, exc) from exc
        raise


def unavailable(where: object, error: BaseException) -> OutboxUnavailable:
    """Return what tells users of an error, with its cause."""
    return error if isinstance(error, OutboxUnavailable) else OutboxUnavailable(str(where), cause_of(error))
