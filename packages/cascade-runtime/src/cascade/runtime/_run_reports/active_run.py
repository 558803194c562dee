"""One active run, as its events move its tasks. No I/O."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from heapq import nlargest

from msgspec import UNSET

from cascade.interfaces import ProgressEvent, TaskState, TaskStateEvent
from cascade.interfaces.events import ENDED_STATES, Tag
from cascade.runtime._support.run_facts import RunFacts
from cascade.wire.progress import is_recorded
from cascade.wire.reports import Durations, TaskCounts

LONGEST = 200
"""Characters of a name in a report."""
MAX_FAILURES = 20
"""Failed tasks that the report of a run's end names."""
_ACTIVE = (TaskState.RUNNING, TaskState.BLOCKED, TaskState.RETRYING)


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


@dataclass(slots=True, eq=False)
class ActiveRun:
    """The tasks of one run by name and state, and which of them run."""

    run_id: str
    target: str
    started: float
    """Seconds since the epoch."""
    name: str = ""
    tags: Mapping[str, Tag] = field(default_factory=dict)
    workflow: str = ""
    facts: RunFacts = field(default_factory=RunFacts)
    """What the run knows of itself and its events do not show."""
    attempt: int = 1
    token: str = ""
    lost_before: int = 0
    """Messages that the connector had dropped when the run began."""
    waits_for_sync: bool = False
    tasks: dict[str, TaskTotals] = field(default_factory=dict)
    """By name."""
    recorded: int = 0
    """Tasks that were skipped because an earlier attempt has recorded them."""
    running: dict[str, TaskStateEvent] = field(default_factory=dict)
    """The event with which each running task began, by ``task_id``; the longest first."""
    paused: set[str] = field(default_factory=set)
    """Those of them that wait at a checkpoint."""
    waiting: dict[str, TaskState] = field(default_factory=dict)
    """The state of each task that waits, before its start or between two attempts, by ``task_id``."""
    failed_attempts: dict[str, TaskStateEvent] = field(default_factory=dict)
    """The latest event of each task that waits for its next attempt."""
    failures: list[TaskStateEvent] = field(default_factory=list)
    """The events of the first tasks that failed."""
    progress: dict[str, ProgressEvent] = field(default_factory=dict)
    """The latest progress of running tasks."""
    since: dict[object, float] = field(default_factory=dict)
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
            if state is TaskState.FAILED and len(self.failures) < MAX_FAILURES:
                self.failures.append(event)

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

    def all_known(self, counts: Mapping[str, int]) -> int:
        """Return how many tasks are known in all, with the counts of now."""
        return max(sum(self.facts.known.values()), sum(counts.values()))

    def names(self, most: int | None = None) -> list[str]:
        """Return the names of all tasks, in the order of the graph.

        Of more than ``most``, those with tasks that run or wait come first, then those with most tasks; the others are left out.
        """
        names = list(dict.fromkeys((*self.facts.known, *self.tasks)))
        return names if most is None or len(names) <= most else nlargest(most, names, key=self._activity)

    def row(self, name: str) -> TaskCounts:
        """Return the row of all tasks of a name."""
        totals = self.tasks.get(name) or TaskTotals()
        sum_ms, max_ms = round(totals.sum_ms, 3), round(totals.max_ms, 3)
        return TaskCounts(
            known=self.known(name),
            counts={state: count for state, count in totals.counts.items() if count},
            ms=Durations(n=totals.ended, sum=sum_ms, max=max_ms) if totals.ended else UNSET,
        )

    def _activity(self, name: str) -> tuple[bool, int]:
        totals = self.tasks.get(name)
        return totals is not None and any(totals.counts[state] for state in _ACTIVE), self.known(name)

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
