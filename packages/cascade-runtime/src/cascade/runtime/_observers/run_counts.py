"""Count the tasks of one run by their states, from its events. No I/O."""

from __future__ import annotations

from collections import Counter

from cascade.interfaces import LifecycleEvent, RunStatus, TaskState, TaskStateEvent
from cascade.interfaces.events import ENDED_STATES

LEAST_ENDED = 10
"""Tasks that must have ended before the time left is estimated."""

# asked for each event
_RUNNING, _BLOCKED = TaskState.RUNNING, TaskState.BLOCKED


class RunCounts:
    """How far one run is."""

    def __init__(self, started: float) -> None:
        self.started = started
        """Seconds since the epoch."""
        self.ended: Counter[TaskState] = Counter()
        """How many tasks ended in each state."""
        self._unfinished: dict[str, TaskState] = {}
        # ids of tasks that run, in the order in which they began
        self._running: dict[str, None] = {}
        self._reasons: dict[str, str] = {}  # of blocked tasks, by task_id
        self._blocked: Counter[str] = Counter()  # tasks by reason
        self._tasks = 0
        self._unexpanded = 0

    def count(self, event: TaskStateEvent) -> None:
        """Move one task to its new state."""
        task_id, state = event.task_id, event.state
        self._unfinished.pop(task_id, None)
        self._running.pop(task_id, None)
        reason = self._reasons.pop(task_id, None)
        if reason is not None:
            self._blocked[reason] -= 1
            if not self._blocked[reason]:
                del self._blocked[reason]
        if state in ENDED_STATES:
            self.ended[state] += 1
            return
        self._unfinished[task_id] = state
        if state is _RUNNING:
            self._running[task_id] = None
        if state is _BLOCKED:
            self._reasons[task_id] = event.reason
            self._blocked[event.reason] += 1

    def expand(self, tasks: int, unexpanded: int) -> None:
        """Add tasks that the graph got, and maps and routes that are not expanded yet."""
        self._tasks += tasks
        self._unexpanded += unexpanded

    @property
    def finished(self) -> int:
        """Tasks that ended."""
        return self.ended.total()

    @property
    def known(self) -> int:
        """Tasks known so far."""
        return max(self._tasks, self.finished + len(self._unfinished))

    @property
    def open(self) -> bool:
        """Whether a map or a route that is not expanded yet will add tasks."""
        return self._unexpanded > 0

    @property
    def running(self) -> int:
        """Tasks that run."""
        return len(self._unfinished) - len(self._reasons)

    @property
    def running_longest(self) -> str:
        """The id of the task that runs for the longest time; empty if none runs."""
        return next(iter(self._running), "")

    def seconds_left(self, seconds: float) -> float | None:
        """Estimate the seconds until all tasks have ended, from the mean rate so far.

        :param seconds: since the start.
        :return: None while more tasks may come, or too few have ended.
        """
        if self.open or self.finished < LEAST_ENDED or self.finished >= self.known:
            return None
        return (self.known - self.finished) * seconds / self.finished

    @property
    def blocked(self) -> tuple[int, str]:
        """How many tasks wait for a permission or a resource, and the most frequent reason."""
        (reason, _), *_ = self._blocked.most_common(1) or [("", 0)]
        return len(self._reasons), reason

    def summary(self, event: LifecycleEvent) -> str:
        """Describe the end of the run in one line, without its error."""
        status = event.status or RunStatus.CANCELLED
        parts = [f"{count} {state.value.lower()}" for state, count in sorted(self.ended.items()) if count]
        seconds = max(event.timestamp - self.started, 0.0)
        tasks = f": {', '.join(parts)}" if parts else ""
        return f"{status.value.lower()} after {duration(seconds)}{tasks}"


def rate(tasks: int, seconds: float) -> str:
    """Return how many tasks ended per second, or per minute if that is less than one.

    >>> rate(26, 2.0), rate(3, 2.0), rate(1, 4.0)
    ('13/s', '1.5/s', '15/min')
    """
    each = tasks / seconds
    if each < 1:
        return f"{each * 60:.0f}/min"
    return f"{each:.0f}/s" if each >= 10 else f"{each:.1f}/s"


def duration(seconds: float) -> str:
    """Return a duration in the unit that a person would use.

    >>> duration(0.0123), duration(41.26), duration(3725)
    ('12 ms', '41.3 s', '1:02:05')
    """
    if seconds < 1:
        return f"{seconds * 1000:.0f} ms"
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
