"""Runs of an engine as it reports them: the active ones, and how the latest ended. No I/O."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from msgspec.structs import replace

from cascade.interfaces import ProgressEvent, RunStatus, TaskState, TaskStateEvent
from cascade.interfaces.events import ENDED_STATES, Tag
from cascade.interfaces.wire import timestamp
from cascade.runtime._support.run_facts import RunFacts
from cascade.wire.message import encoded_size
from cascade.wire.progress import is_recorded
from cascade.wire.reports import RecentRun
from cascade.wire.series import clean_tags


class TaskTotals:
    """All tasks of one name."""

    __slots__ = ("counts", "ended", "max_ms", "sum_ms")

    def __init__(self) -> None:
        self.counts = dict.fromkeys(TaskState, 0)
        self.ended = 0
        """Tasks that were called and have ended, with a duration."""
        self.sum_ms = 0.0
        self.max_ms = 0.0

    def took(self, milliseconds: float) -> None:
        """Note how long a task took."""
        self.ended += 1
        self.sum_ms += milliseconds
        if milliseconds > self.max_ms:  # noqa: PLR1730 - max() takes three times as long, for each task
            self.max_ms = milliseconds


class ActiveRun:
    """The tasks of one run by name and state, and which of them run.

    :param facts: what the run knows of itself and its events do not show.
    """

    def __init__(
        self,
        run_id: str,
        target: str,
        started: float,
        *,
        name: str = "",
        tags: Mapping[str, Tag] | None = None,
        workflow: str = "",
        facts: RunFacts | None = None,
        attempt: int = 1,
        token: str = "",
    ) -> None:
        self.run_id = run_id
        self.target = target
        self.started = started
        """Seconds since the epoch."""
        self.name = name
        self.tags = tags or {}
        self.workflow = workflow
        self.facts = facts or RunFacts()
        self.attempt = attempt
        self.token = token
        self.lost_before = 0
        """Messages that the connector had dropped when the run began."""
        self.waits_for_sync = False
        self.tasks: dict[str, TaskTotals] = {}
        """By name."""
        self.recorded = 0
        """Tasks that were skipped because an earlier attempt has recorded them."""
        self.running: dict[str, TaskStateEvent] = {}
        """The event with which each running task began, by ``task_id``; the longest first."""
        self.paused: set[str] = set()
        """Those of them that wait at a checkpoint."""
        self.waiting: dict[str, TaskState] = {}
        """The state of each task that waits, before its start or between two attempts, by ``task_id``."""
        self.failed_attempts: dict[str, TaskStateEvent] = {}
        """The latest event of each task that waits for its next attempt."""
        self.progress: dict[str, ProgressEvent] = {}
        """The latest progress of running tasks."""
        self.since: dict[object, float] = {}
        """When each reason to wait was first reported, in seconds since the epoch."""

    def count(self, event: TaskStateEvent) -> None:
        """Move one task to its new state."""
        task_id, state = event.task_id, event.state
        totals = self.tasks.get(event.task_name)
        if totals is None:
            totals = self.tasks[event.task_name] = TaskTotals()
        before = self._forget(task_id, state)
        if before is not None:
            totals.counts[before] -= 1
        totals.counts[state] += 1
        if state is TaskState.RUNNING:
            self.running.setdefault(task_id, event)
        elif state not in ENDED_STATES:
            self._wait(task_id, state)
            if state is TaskState.RETRYING:
                self.failed_attempts[task_id] = event
        else:
            if event.duration_ms:
                totals.took(event.duration_ms)
            self.recorded += state is TaskState.SKIPPED and is_recorded(event.reason)

    def attempt_begins(self, task_id: str, now: float) -> None:
        """Move a task from its wait for another attempt to the running ones; ``now`` is since the epoch."""
        failed = self.failed_attempts.get(task_id)
        if failed is not None:
            self.count(failed._replace(state=TaskState.RUNNING, timestamp=now))

    def note_progress(self, event: ProgressEvent) -> None:
        """Note how far a running task is."""
        if event.task_id in self.running:
            self.progress[event.task_id] = event

    def counts(self) -> dict[str, int]:
        """Return the number of tasks by state, without states that no task is in."""
        total: Counter[str] = Counter()
        for totals in self.tasks.values():
            total.update({state: count for state, count in totals.counts.items() if count})
        return {state.value: total[state.value] for state in TaskState if total[state.value]}

    def known(self, name: str) -> int:
        """Return how many tasks of a name are known: those of the graph, or at least those with an event."""
        totals = self.tasks.get(name)
        seen = sum(totals.counts.values()) if totals is not None else 0
        return max(self.facts.known.get(name, 0), seen)

    def names(self) -> list[str]:
        """Return the names of all tasks, in the order of the graph."""
        return list(dict.fromkeys((*self.facts.known, *self.tasks)))

    def _forget(self, task_id: str, state: TaskState) -> TaskState | None:
        """Forget the state that a task leaves, and return it; a paused task keeps its place among the running."""
        waited = self.waiting.pop(task_id, None) if self.waiting else None
        if waited is not None:
            self.facts.retries.pop(task_id, None)
            self.failed_attempts.pop(task_id, None)
            return waited
        if task_id not in self.running:
            return None
        before = TaskState.RUNNING
        if task_id in self.paused:
            self.paused.discard(task_id)
            before = TaskState.BLOCKED
        if state not in (TaskState.RUNNING, TaskState.BLOCKED):
            del self.running[task_id]
            if self.progress:
                self.progress.pop(task_id, None)
        return before

    def _wait(self, task_id: str, state: TaskState) -> None:
        if task_id in self.running:  # blocked at a checkpoint
            self.paused.add(task_id)
        else:
            self.waiting[task_id] = state


MAX_RECENT = 10
"""Runs that have ended and are reported."""
_LONGEST = 200  # characters of a name
_LONGEST_ERROR = 500
_STATUSES = frozenset(RunStatus)
_STATES = frozenset(TaskState)


class RunHistory:
    """The runs of one source that have ended. It lives as long as the process, like token buckets."""

    def __init__(self) -> None:
        self.recent: deque[RecentRun] = deque(maxlen=MAX_RECENT)
        """Rows of the report, the latest first."""
        self.sizes: deque[int] = deque(maxlen=MAX_RECENT)
        """Bytes of each row."""
        self.recent_more = 0
        """Runs of this process that ended before those."""
        self.completed = 0
        """Tasks of runs that ended in this process; ``failed`` likewise."""
        self.failed = 0
        self.last_status = ""
        self._carried = False

    def ended(self, row: RecentRun, *, completed: int, failed: int) -> None:
        """Add a run that has ended."""
        self.recent_more += len(self.recent) == MAX_RECENT
        self.recent.appendleft(row)
        self.sizes.appendleft(encoded_size(row) + 2)
        self.completed += completed
        self.failed += failed
        self.last_status = row.status

    def carry_over(self, rows: Iterable[Mapping[str, Any]]) -> None:
        """Add runs of an earlier process with this name, once; anyone may have written the rows."""
        if self._carried:
            return
        self._carried = True
        known = {(row.run_id, row.ended) for row in self.recent}
        carried = [row for each in rows if (row := _carried(each)) is not None]
        found = [row for row in carried if (row.run_id, row.ended) not in known]
        for row in found[: MAX_RECENT - len(self.recent)]:
            self.recent.append(row)
            self.sizes.append(encoded_size(row) + 2)
        if not self.last_status and self.recent:
            self.last_status = self.recent[0].status


def _carried(data: Mapping[str, Any]) -> RecentRun | None:
    """Return a row of an earlier report as the next one can have it; None if it is not one."""
    # only a process with a name has earlier runs
    from cascade.wire.reading import bounded, read_row, seconds

    row: RecentRun | None = read_row(RecentRun, bounded(dict(data)))
    if row is None or row.status not in _STATUSES:
        return None
    started, ended = seconds(row.started), seconds(row.ended)
    if started is None or ended is None:
        return None
    return replace(
        row,
        run_id=row.run_id[:_LONGEST],
        token=row.token[:_LONGEST],
        target=row.target[:_LONGEST],
        name=row.name[:_LONGEST],
        error=row.error[:_LONGEST_ERROR],
        started=timestamp(started),
        ended=timestamp(ended),
        counts={state: count for state, count in row.counts.items() if state in _STATES},
    )


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


def recent_row(
    run: ActiveRun, *, status: str, error: str, ended: float, clean: Callable[[str], str]
) -> RecentRun:
    """Return what remains of a run that has ended."""
    return RecentRun(
        run_id=run.run_id,
        token=run.token,
        target=clean(run.target)[:_LONGEST],
        name=clean(run.name) if run.name else "",
        tags=clean_tags(run.tags, clean),
        status=status,
        error=clean(error) if error else "",
        started=timestamp(run.started),
        ended=timestamp(ended),
        attempt=run.attempt,
        duration_ms=round((ended - run.started) * 1000, 3),
        counts=run.counts(),
        recorded=run.recorded,
    )
