"""One active run as its engine reports it: counted from its events, at a cost that does not grow. No I/O."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Final

from cascade.interfaces import ProgressEvent, TaskFields, TaskState, TaskStateEvent
from cascade.interfaces.events import ENDED_STATES, Tag
from cascade.runtime._support.run_facts import RunFacts

_RUNNING, _BLOCKED, _COMPLETED = (
    state.value for state in (TaskState.RUNNING, TaskState.BLOCKED, TaskState.COMPLETED)
)
_TASK_ID: Final = 1
_NAME: Final = 2
_STATE: Final = 3
_DURATION: Final = 5
"""Indexes in the fields of a task's event."""


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
        if milliseconds > self.max_ms:  # noqa: PLR1730 - max() takes three times as long, for each task
            self.max_ms = milliseconds

    def completed(self, milliseconds: float) -> None:
        """Count a task that has completed; 0: it was not called."""
        self.counts[_COMPLETED] += 1
        if milliseconds:
            self.took(milliseconds)


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
        self.facts.publish_waiting()
        if self.uncounted:
            uncounted, self.uncounted = self.uncounted, []
            self._count_all(uncounted)

    def count(self, fields: TaskFields) -> None:
        """Move one task to its new state, at once."""
        self.count_all((fields,))

    def count_all(self, events: Iterable[TaskFields]) -> None:
        """Move tasks to their new states, at once, in the order of their events."""
        self.settle()
        self._count_all(events)

    def _count_all(self, events: Iterable[TaskFields]) -> None:
        """Count events; most of them begin or complete a task, and a short task does both in a row."""
        running, all_totals = self.running, self.tasks
        waiting, paused, progress = self.waiting, self.paused, self.progress
        begun: TaskFields | None = None  # the event before, if its task is yet to join the running ones
        for fields in events:
            task_id, state = fields[_TASK_ID], fields[_STATE]
            if begun is not None:
                if state == _COMPLETED and begun[_TASK_ID] == task_id:
                    all_totals[begun[_NAME]].completed(fields[_DURATION])
                    begun = None
                    continue
                self._join(begun)
                begun = None
            if fields[_NAME] not in all_totals or waiting:
                self._count(fields)
            elif state == _RUNNING and task_id not in running:
                begun = fields
            elif state == _COMPLETED and not (paused or progress) and running.pop(task_id, None) is not None:
                totals = all_totals[fields[_NAME]]
                totals.counts[_RUNNING] -= 1
                totals.completed(fields[_DURATION])
            else:
                self._count(fields)
        if begun is not None:
            self._join(begun)

    def _join(self, fields: TaskFields) -> None:
        """Add a task that has not waited to the running ones."""
        self.tasks[fields[_NAME]].counts[_RUNNING] += 1
        self.running[fields[_TASK_ID]] = fields

    def _count(self, fields: TaskFields) -> None:
        """Move one task from any state to any other."""
        task_id, name, state = fields[_TASK_ID], fields[_NAME], fields[_STATE]
        totals = self.tasks.get(name)
        if totals is None:
            totals = self.tasks[name] = TaskTotals()
        before = self._forget(task_id, state)
        if before is not None:
            totals.counts[before] -= 1
        totals.counts[state] += 1
        if state == _RUNNING:
            self.running.setdefault(task_id, fields)
        elif state not in ENDED_STATES:
            self._wait(task_id, state)
            if state == TaskState.RETRYING:
                self.failed_attempts[task_id] = fields
        elif duration := fields[_DURATION]:
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
            self.count(event.fields())

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
