"""One active run as its engine reports it: counted from its events, at a cost that does not grow. No I/O."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

from cascade.interfaces import ProgressEvent, TaskFields, TaskState, TaskStateEvent
from cascade.interfaces.events import ENDED_STATES, Tag
from cascade.runtime._support.run_facts import RunFacts

_RUNNING, _BLOCKED, _COMPLETED = (
    state.value for state in (TaskState.RUNNING, TaskState.BLOCKED, TaskState.COMPLETED)
)


class TaskTotals:
    """All tasks of one name."""

    __slots__ = ("counts", "ended", "max_ms", "sum_ms")

    def __init__(self) -> None:
        self.counts = dict.fromkeys([state.value for state in TaskState], 0)
        """By the text of the state."""
        self.ended = 0
        """Tasks that were called and have ended, with a duration."""
        self.sum_ms = 0.0
        self.max_ms = 0.0

    def took(self, milliseconds: float) -> None:
        """Note how long a task took."""
        self.ended += 1
        self.sum_ms += milliseconds
        self.max_ms = max(self.max_ms, milliseconds)


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
        self.uncounted: list[TaskFields] = []
        """The latest events of tasks, in order; :meth:`settle` counts them."""
        self.lost_before = 0
        """Messages that the connector had dropped when the run began."""
        self.waits_for_sync = False
        self.tasks: dict[str, TaskTotals] = {}
        """By name."""
        self.running: dict[str, TaskFields] = {}
        """The fields of the event with which each running task began, by ``task_id``; the longest first."""
        self.paused: set[str] = set()
        """Those of them that wait at a checkpoint."""
        self.waiting: dict[str, str] = {}
        """The state of each task that waits, before its start or between two attempts, by ``task_id``."""
        self.failed_attempts: dict[str, TaskFields] = {}
        """The fields of the latest event of each task that waits for its next attempt."""
        self.progress: dict[str, ProgressEvent] = {}
        """The latest progress of running tasks."""
        self.since: dict[object, float] = {}
        """When each reason to wait was first reported, in seconds since the epoch."""

    def settle(self) -> None:
        """Count the latest events; to be called before anything is read."""
        if self.uncounted:
            uncounted, self.uncounted = self.uncounted, []
            for fields in uncounted:
                self._count(fields)

    def count(self, fields: TaskFields) -> None:
        """Move one task to its new state, at once."""
        self.settle()
        self._count(fields)

    def _count(self, fields: TaskFields) -> None:
        _, task_id, name, state, _, duration, *_ = fields
        totals = self.tasks.get(name)
        if totals is None:
            totals = self.tasks[name] = TaskTotals()
        counts, running = totals.counts, self.running
        if state == _RUNNING and not self.waiting and task_id not in running:
            counts[state] += 1  # a task that has not waited begins: half of all events
            running[task_id] = fields
            return
        if state == _COMPLETED and not self.waiting and not self.paused and task_id in running:
            before: str | None = _RUNNING  # and most of the others
            del running[task_id]
            if self.progress:
                self.progress.pop(task_id, None)
        else:
            before = self._forget(task_id, state)
        if before is not None:
            counts[before] -= 1
        counts[state] += 1
        if state == _RUNNING:
            running.setdefault(task_id, fields)
        elif state not in ENDED_STATES:
            self._wait(task_id, state)
            if state == TaskState.RETRYING:
                self.failed_attempts[task_id] = fields
        elif duration:
            totals.took(duration)

    def began(self, task_id: str) -> TaskStateEvent:
        """Return the event with which a running task began."""
        return TaskStateEvent.of(self.running[task_id])

    def attempt_begins(self, task_id: str, now: float) -> None:
        """Move a task from its wait for another attempt to the running ones; ``now`` is since the epoch."""
        self.settle()
        failed = self.failed_attempts.get(task_id)
        if failed is not None:
            event = TaskStateEvent.of(failed)._replace(state=TaskState.RUNNING, timestamp=now)
            self._count(event.fields())

    def note_progress(self, event: ProgressEvent) -> None:
        """Note how far a running task is."""
        self.settle()
        if event.task_id in self.running:
            self.progress[event.task_id] = event

    def counts(self) -> dict[str, int]:
        """Return the number of tasks by state, without states that no task is in."""
        self.settle()
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

    def _forget(self, task_id: str, state: str) -> str | None:
        """Forget the state that a task leaves, and return it; a paused task keeps its place among the running."""
        waited = self.waiting.pop(task_id, None) if self.waiting else None
        if waited is not None:
            self.facts.retries.pop(task_id, None)
            self.failed_attempts.pop(task_id, None)
            return waited
        if task_id not in self.running:
            return None
        before = _RUNNING
        if task_id in self.paused:
            self.paused.discard(task_id)
            before = _BLOCKED
        if state not in (_RUNNING, _BLOCKED):
            del self.running[task_id]
            if self.progress:
                self.progress.pop(task_id, None)
        return before

    def _wait(self, task_id: str, state: str) -> None:
        if task_id in self.running:  # blocked at a checkpoint
            self.paused.add(task_id)
        else:
            self.waiting[task_id] = state
