"""The thread of a run's file: it encodes, commits what waits at once, and tries again while the file fails."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Sequence

from cascade.interfaces import Clock, RunInUseError, StateUnavailable
from cascade.interfaces.logs import get_logger
from cascade.runtime._durable.crash_points import reach
from cascade.runtime._durable.operations import Keep, Operation, joined
from cascade.runtime._durable.problems import rescue_of
from cascade.runtime._durable.results import ResultCodec, with_own_file
from cascade.runtime._durable.run_file import RunFile
from cascade.runtime._storage.sqlite_errors import cause_of, is_damaged
from cascade.transport.state_log import StateLog

_log = get_logger("cascade.state")

SHORTEST_PAUSE, LONGEST_PAUSE = 0.05, 1.0
"""Seconds between two tries to commit while the file fails."""


class RunWriter:
    """Serves the operations of one journal.

    While the file fails, the batch is tried again for ``retry_for`` seconds; the thread serves
    nothing else meanwhile, and ``stalled`` is True. Then every operation fails, now and later.
    """

    def __init__(self, file: RunFile, codec: ResultCodec, *, retry_for: float, clock: Clock) -> None:
        self._file = file
        self._codec = codec
        self._retry_for = retry_for
        self._clock = clock
        self._state_log = StateLog(_log)
        self._closing = threading.Event()
        self.stalled = False
        self.settled = 0
        """Events whose numbers are below this are forgotten with the next commit; the journal sets it, on its loop."""
        self.failure: StateUnavailable | RunInUseError | None = None
        """Why writing has stopped."""

    def hurry(self) -> None:
        """Try no longer than once more: the journal is being closed. From any thread."""
        self._closing.set()

    def serve(self, batch: Sequence[Operation], /) -> None:
        """Encode, commit, and set results and errors."""
        for operation in batch:
            try:
                operation.encode(self._codec)
            except Exception as exc:
                operation.error = exc
        reach("encoded")
        ready = joined([operation for operation in batch if operation.error is None])
        if self.failure is None and ready:
            self._persist(ready)
        if self.failure is not None:
            for operation in ready:
                operation.error = self.failure
            return
        for point in {operation.point for operation in ready} - {""}:
            reach(point)
        reach("committed-unheard")

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def _persist(self, operations: Sequence[Operation]) -> None:
        """Commit operations; set ``failure`` if that cannot be done."""
        began, pause = self._clock.monotonic(), SHORTEST_PAUSE
        while True:
            try:
                self._commit(operations)
            except RunInUseError as exc:
                self.failure = exc
            except (sqlite3.Error, OSError) as exc:
                late = self._clock.monotonic() - began >= self._retry_for
                if not (is_damaged(exc) or late or self._closing.is_set()):
                    self._stall(exc)
                    self._closing.wait(pause)
                    pause = min(2 * pause, LONGEST_PAUSE)
                    continue
                self.failure = StateUnavailable(str(self._file.paths.database), self._cause(exc))
            else:
                self._state_log.works("write", "state %s can be written again", self._file.paths.database)
            self.stalled = False
            return

    def _commit(self, operations: Sequence[Operation]) -> None:
        for operation in operations:
            if isinstance(operation, Keep) and operation.stored is not None:
                operation.stored = with_own_file(operation.stored, self._file.paths)
        if any(operation.writes for operation in operations):
            self._file.transact(lambda: self._write(operations))
        else:
            self._apply(operations)

    def _apply(self, operations: Sequence[Operation]) -> None:
        for operation in operations:
            operation.apply(self._file, self._codec)

    def _write(self, operations: Sequence[Operation]) -> None:
        self._apply(operations)
        if self.settled:
            self._file.forget_events(self.settled)

    def _stall(self, error: Exception) -> None:
        self.stalled = True
        message = "state %s: %s; no further step starts, and the commit is tried again for %g s"
        place = self._file.paths.database
        self._state_log.failed("write", message, place, cause_of(error), self._retry_for)

    def _cause(self, error: Exception) -> str:
        if is_damaged(error):
            return rescue_of(self._file.paths.database, error)
        return f"{cause_of(error)}; tried again for {self._retry_for:g} s"
