"""The active runs of an engine, and what remains of those that have ended. No I/O."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import groupby
from operator import itemgetter
from typing import Final

from cascade.interfaces import ProgressEvent, RunStatus, TaskFields, TaskState
from cascade.runtime._control.active_run import ActiveRun
from cascade.runtime._control.run_history import RunHistory
from cascade.runtime._control.runs_report import recent_row

COUNTED_AT_ONCE = 256
"""Events that begin or complete a task are counted so many at a time, or when something is read."""

_COUNTED_LATER = frozenset({TaskState.RUNNING.value, TaskState.COMPLETED.value})
"""Beside other events a run notes further facts, such as when a retry is due, which belong behind them."""
_RUN_ID: Final = 0
_STATE: Final = 3
"""Indexes in the fields of a task's event."""
_RUN_OF = itemgetter(_RUN_ID)


class RunTable:
    """Active runs by id; their events move their tasks.

    :param on_change: called after an event of a task that a report would show.
    """

    def __init__(
        self, history: RunHistory | None = None, *, on_change: Callable[[], object] = lambda: None
    ) -> None:
        self.revision = 0
        """Goes up with every change that a report would show."""
        self.history = history or RunHistory()
        self._runs: dict[str, ActiveRun] = {}
        self._on_change = on_change

    def __len__(self) -> int:
        return len(self._runs)

    def active(self) -> list[ActiveRun]:
        """Return the active runs, the oldest first, with all their events counted."""
        for run in self._runs.values():
            run.settle()
        return list(self._runs.values())

    def begin(self, run: ActiveRun) -> None:
        """Add a run."""
        self._runs[run.run_id] = run
        self.revision += 1

    def get(self, run_id: str) -> ActiveRun | None:
        """Return an active run, with all its events counted."""
        run = self._runs.get(run_id)
        if run is not None:
            run.settle()
        return run

    def end(
        self,
        run_id: str,
        *,
        status: RunStatus,
        error: str = "",
        now: float,
        clean: Callable[[str], str] = str,
    ) -> None:
        """Remove a run, and remember how it ended; ``now`` is in seconds since the epoch."""
        run = self._runs.pop(run_id, None)
        if run is None:
            return
        row = recent_row(run, status=status.value, error=error, ended=now, clean=clean)
        counts = run.counts()
        completed, failed = (counts.get(state, 0) for state in (TaskState.COMPLETED, TaskState.FAILED))
        self.history.ended(row, completed=completed, failed=failed)
        self.revision += 1

    def count(self, fields: TaskFields) -> None:
        """Move one task to its new state, at the latest when the counts are read.

        :attr:`revision` goes up, and ``on_change`` is called, for the first of several events that are counted together.
        """
        run = self._runs.get(fields[_RUN_ID])
        if run is None:
            return
        uncounted = run.uncounted
        uncounted.append(fields)
        first = len(uncounted) == 1
        if fields[_STATE] not in _COUNTED_LATER or len(uncounted) >= COUNTED_AT_ONCE:
            run.settle()
        if first:
            self.revision += 1
            self._on_change()

    def count_all(self, events: Sequence[TaskFields]) -> None:
        """Move tasks to their new states, in the order of their events."""
        if len(events) == 1:
            self.count(events[0])
            return
        counted = False
        for run_id, of_run in groupby(events, _RUN_OF):
            if (run := self._runs.get(run_id)) is not None:
                run.count_all(of_run)
                counted = True
        if counted:
            self.revision += 1
            self._on_change()

    def note_progress(self, event: ProgressEvent) -> None:
        """Note how far a task is."""
        run = self._runs.get(event.run_id)
        if run is not None:
            run.note_progress(event)
            self.revision += 1

    def attempt_begins(self, run_id: str, task_id: str, now: float) -> None:
        """Note that the next attempt of a task begins; ``now`` is in seconds since the epoch."""
        run = self._runs.get(run_id)
        if run is not None:
            run.attempt_begins(task_id, now)
            self.revision += 1

    def touch(self) -> None:
        """Note a change that no event shows."""
        self.revision += 1
