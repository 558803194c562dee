"""Count the tasks of one run by their states, from its events. No I/O."""

from __future__ import annotations

from collections import Counter

from cascade.interfaces import LifecycleEvent, RunStatus, TaskState, TaskStateEvent
from cascade.interfaces.events import ENDED_STATES
from cascade.runtime._support.run_facts import RunFacts
from cascade.wire.progress import Progress, is_recorded, label, progress_of, seconds_left

MOST_REASONS = 20
"""Reasons for which tasks are blocked that are looked at, to find a pause."""

# asked for each event
_RUNNING, _BLOCKED, _SKIPPED = TaskState.RUNNING, TaskState.BLOCKED, TaskState.SKIPPED


class RunCounts:
    """How far one run is.

    :param facts: what the run knows of itself and its events do not show.
    """

    def __init__(self, started: float, facts: RunFacts | None = None) -> None:
        self.started = started
        """Seconds since the epoch."""
        self.counts: Counter[str] = Counter()
        """Tasks by present state."""
        self.recorded = 0
        """Tasks that were skipped because an earlier attempt has recorded them."""
        self._facts = facts
        self._unfinished: dict[str, TaskState] = {}
        # ids of tasks that run, in the order in which they began
        self._running: dict[str, None] = {}
        # of blocked tasks, by task_id: the reason, and the name of the task
        self._reasons: dict[str, tuple[str, str]] = {}
        self._blocked: Counter[tuple[str, str]] = Counter()

    def count(self, event: TaskStateEvent) -> None:
        """Move one task to its new state."""
        task_id, state = event.task_id, event.state
        if (before := self._unfinished.pop(task_id, None)) is not None:
            self.counts[before] -= 1
        self.counts[state] += 1
        self._running.pop(task_id, None)
        reason = self._reasons.pop(task_id, None)
        if reason is not None:
            self._blocked[reason] -= 1
            if not self._blocked[reason]:
                del self._blocked[reason]
        if state in ENDED_STATES:
            self.recorded += state is _SKIPPED and is_recorded(event.reason)
            return
        self._unfinished[task_id] = state
        if state is _RUNNING:
            self._running[task_id] = None
        if state is _BLOCKED:
            reason = self._reasons[task_id] = event.reason, event.task_name
            self._blocked[reason] += 1

    def progress(self, seconds: float, *, paused: bool = False, held: bool = False) -> Progress:
        """Return what every screen shows of the run.

        :param seconds: since the start.
        :param paused: whether a pause covers the run as a whole.
        :param held: whether a pause holds a task: then it is not known when the run will end.
        """
        facts = self._facts
        known = sum(self.counts.values())
        waits: list[tuple[str, int]] | None = None
        if facts is not None:
            known = max(known, sum(facts.known.values()))
            now = self.started + seconds
            waits = [("retry", sum(until > now for until in facts.retries.values()))]
            waits += [("slot", n) for n in (facts.waits_for_slot(), *facts.over_map_limits().values())]
        return progress_of(
            self.counts,
            recorded=self.recorded,
            known=known,
            open=facts is not None and facts.open,
            waits=waits,
            paused=paused,
            left_s=None if held else seconds_left(self.counts, known=known, seconds=seconds),
        )

    @property
    def running_longest(self) -> str:
        """The id of the task that runs for the longest time; empty if none runs."""
        return next(iter(self._running), "")

    @property
    def blocked(self) -> list[tuple[str, str]]:
        """The most frequent reasons for which tasks are blocked, each with the name of such tasks."""
        return [found for found, _ in self._blocked.most_common(MOST_REASONS)]

    def summary(self, event: LifecycleEvent) -> str:
        """Describe the end of the run in one line, without its error."""
        status = event.status or RunStatus.CANCELLED
        ended = {state.value: self.counts[state] for state in ENDED_STATES}
        tasks = progress_of(ended, recorded=self.recorded).tasks
        parts = [f"{count} {label(word)}" for word, count in tasks.items()]
        seconds = max(event.timestamp - self.started, 0.0)
        return f"{status.value.lower()} after {duration(seconds)}{': ' if parts else ''}{', '.join(parts)}"


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
