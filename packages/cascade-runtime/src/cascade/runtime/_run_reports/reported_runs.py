"""Runs of an engine as it reports them: the active ones, and how the latest ended. No I/O."""

from __future__ import annotations

from collections.abc import Callable

from cascade.interfaces import ProgressEvent, RunStatus, TaskStateEvent
from cascade.runtime._run_reports.active_run import ActiveRun
from cascade.runtime._run_reports.ended_runs import ended_run
from cascade.runtime._run_reports.run_history import RunHistory


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
        """Return the active runs, the oldest first."""
        return list(self._runs.values())

    def begin(self, run: ActiveRun) -> None:
        """Add a run."""
        self._runs[run.run_id] = run
        self.history.began(run.token)
        self.revision += 1

    def get(self, run_id: str) -> ActiveRun | None:
        """Return an active run."""
        return self._runs.get(run_id)

    def end(
        self,
        run_id: str,
        *,
        status: RunStatus,
        error: str = "",
        by: str = "",
        now: float,
        clean: Callable[[str], str] = str,
    ) -> None:
        """Remove a run, and remember how it ended, and who has ended it; ``now`` is in seconds since the epoch."""
        run = self._runs.pop(run_id, None)
        if run is None:
            return
        row = ended_run(run, status=status.value, error=error, by=by, ended=now, clean=clean)
        self.history.ended(row)
        self.revision += 1

    def count(self, event: TaskStateEvent) -> None:
        """Move one task to its new state."""
        run = self._runs.get(event.run_id)
        if run is not None:
            run.count(event)
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
