"""One active run as its engine reports it: counted from its events, at a cost that does not grow. No I/O."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

from cascade.interfaces import ProgressEvent, TaskState, TaskStateEvent
from cascade.interfaces.events import ENDED_STATES, Tag
from cascade.runtime._support.run_facts import RunFacts


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
        facts: RunFacts | None = None,
        attempt: int = 1,
    ) -> None:
        self.run_id = run_id
        self.target = target
        self.started = started
        """Seconds since the epoch."""
        self.name = name
        self.tags = tags or {}
        self.facts = facts or RunFacts()
        self.attempt = attempt
        self.lost_before = 0
        """Messages that the connector had dropped when the run began."""
        self.waits_for_sync = False
        self.tasks: dict[str, TaskTotals] = {}
        """By name."""
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
        elif event.duration_ms:
            totals.took(event.duration_ms)

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
