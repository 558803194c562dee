"""The summary of a run from its events: counts, and the tasks that were slow, tried again or failed."""

from __future__ import annotations

import heapq
from collections import Counter
from collections.abc import Iterator

from cascade.interfaces import Lifecycle, LifecycleEvent, RunStatus, TaskState, TaskStateEvent
from cascade.interfaces.events import ENDED_STATES
from cascade.interfaces.redaction import Redactor
from cascade.wire.progress import is_kept_failure

MOST = 5
"""Tasks that failed, and tasks that were tried again, that are named."""
MOST_SLOW = 3
"""Slow tasks that are named."""

_LEAST_MS = 100.0  # a task that took less is never called slow


class RunSummary:
    """Collects the events of the one run on a bus; its memory does not grow with the number of tasks that succeed."""

    def __init__(self) -> None:
        self.run_id = ""
        self.status: RunStatus | None = None
        """None before the end."""
        self.error = ""
        """Why it did not succeed, as observers read it."""
        self.counts: Counter[str] = Counter()
        """Tasks by the state in which they ended."""
        self._slowest: list[tuple[float, str]] = []
        self._retries: dict[str, tuple[int, str]] = {}
        self._failed: list[tuple[str, str]] = []
        self._failures = 0

    @property
    def started(self) -> bool:
        """Whether the run began."""
        return bool(self.run_id)

    def lifecycle(self, event: LifecycleEvent) -> None:
        """Note the start or the end of the run."""
        if event.event is Lifecycle.ENGINE_STARTED and not self.run_id:
            self.run_id = event.run_id
        elif event.run_id == self.run_id:
            self.status, self.error = event.status, event.error

    def task(self, event: TaskStateEvent) -> None:
        """Count a change of a task's state; runs inside a task are not counted."""
        if event.run_id != self.run_id:
            return
        if event.state is TaskState.RETRYING and len(self._retries) < 10_000:
            times, _ = self._retries.get(event.task_id, (0, ""))
            self._retries[event.task_id] = times + 1, event.error
        if event.state not in ENDED_STATES:
            return
        self.counts[event.state.value] += 1
        kept = is_kept_failure(event.reason) if event.state is TaskState.SKIPPED else False
        if event.state is TaskState.FAILED or kept:
            self._failures += 1
            if len(self._failed) < MOST:
                self._failed.append((event.task_id, event.error or event.reason))
        if event.state in (TaskState.COMPLETED, TaskState.FAILED) and event.duration_ms >= _LEAST_MS:
            self._remember_slow(event.duration_ms, event.task_id)

    def remarks(self) -> Iterator[str]:
        """Yield which tasks were slow, and which were tried again."""
        clean = Redactor.DEFAULT.one_line
        slowest = sorted(self._slowest, reverse=True)
        if slowest:
            yield "slowest: " + ", ".join(f"{name} {_seconds(ms)}" for ms, name in slowest)
        retried = sorted(self._retries.items(), key=lambda each: -each[1][0])
        for name, (times, error) in retried[:MOST]:
            # of a task that failed in the end, its failure is printed
            why = "" if (name, error) in self._failed else f": {clean(error)}"
            yield f"tried again: {name} {times} {'time' if times == 1 else 'times'}{why}"
        if len(retried) > MOST:
            yield f"tried again: {len(retried) - MOST} more tasks"

    def failures(self, *, but_first: bool = False, but_alike: bool = False) -> Iterator[str]:
        """Yield which tasks failed, in this attempt of the run or, where that is kept, in an earlier one.

        :param but_first: leave out the failure that the run's own error names.
        :param but_alike: leave out those with the text of that error: one full disk fails all that run at that moment.
        """
        clean = Redactor.DEFAULT.one_line
        first = self.error.partition(": ")[2]
        for name, error in self._failed:
            alike = but_alike and error and first.startswith(clean(error))
            if not alike and not (but_first and self.error.startswith(f"{name}: ")):
                yield f"failed: {name}: {clean(error)}"
        if self._failures > len(self._failed):
            yield f"failed: {self._failures - len(self._failed)} more tasks"

    def _remember_slow(self, ms: float, task_id: str) -> None:
        if len(self._slowest) < MOST_SLOW:
            heapq.heappush(self._slowest, (ms, task_id))
        else:
            heapq.heappushpop(self._slowest, (ms, task_id))


def _seconds(ms: float) -> str:
    return f"{ms / 1000:.1f} s" if ms < 60_000 else f"{int(ms // 60_000)}:{int(ms // 1000) % 60:02} min"
