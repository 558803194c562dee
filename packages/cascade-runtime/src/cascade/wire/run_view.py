"""One run, as its events and its engine's reports show it."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from cascade.interfaces.events import ENDED_STATES, Lifecycle, RunStatus, TaskState
from cascade.interfaces.topics import EVENTS
from cascade.interfaces.wire import LOST, timestamp
from cascade.wire.ended import EndedRun, FailedTask
from cascade.wire.events import LifecycleBody, ProgressBody, TaskStateBody
from cascade.wire.parsed import EventMessage
from cascade.wire.progress import RUNNING, is_recorded
from cascade.wire.reading import seconds
from cascade.wire.received import Received
from cascade.wire.reports import ActiveRun, RecentRun

ENDED = "Ended"
"""Status of a run that its engine no longer reports, and whose last event did not arrive."""

MAX_FAILURES = 100
FIRST_FAILURES = 20
MAX_SERIES = 32

_STATES = frozenset(TaskState)
_STATUSES = frozenset(RunStatus)
_ENDS = _STATUSES | {LOST}


class Room:
    """How many tasks may still be remembered, over all runs of a view."""

    def __init__(self, left: int = 200_000) -> None:
        self.left = left


@dataclass(slots=True)
class TaskView:
    """A task that has begun or waits and has not ended, or one that failed."""

    task_id: str
    name: str
    state: str
    since: float | None = None
    """When it came into this state, in seconds since the epoch."""
    duration_ms: float = 0.0
    error: str = ""
    reason: str = ""
    attempt: int = 1
    parent: str = ""
    item: int | None = None
    node: str = ""
    done: float | None = None
    """Progress, where the task reports it."""
    total: float | None = None
    message: str = ""
    """What the task says of its progress."""
    unit: str = ""


class RunView:
    """A run of one source. Its tasks are those of the run's latest attempt.

    It relies on the order of the wire: first copies of the messages of one topic arrive in order.
    """

    def __init__(self, source: str, run_id: str, room: Room | None = None) -> None:
        self.source = source
        self.run_id = run_id
        self.place: tuple[str, str] | None = None
        """Organization and project of its events; None before the first one."""
        self.token = ""
        self.attempt = 1
        self.status = RUNNING
        """``Running``, ``Succeeded``, ``Failed``, ``Cancelled``, ``Lost``: its process has died, or
        ``Ended``: it is over, and how is not known."""
        self.target = ""
        self.name = ""
        self.tags: Mapping[str, str | float | bool] = {}
        self.started: float | None = None
        """Seconds since the epoch, as is ``ended``."""
        self.ended: float | None = None
        self.error = ""
        self.by = ""
        """Author of the cancel that ended it, as its message claims."""
        self.tasks: dict[str, TaskView] = {}
        """Tasks that have begun or wait and have not ended, by ``task_id``."""
        self.failures: deque[TaskView] = deque(maxlen=MAX_FAILURES)
        """The latest tasks that failed."""
        self.reported: ActiveRun | None = None
        """What the engine has last reported of it while it was active."""
        self.recent: RecentRun | None = None
        """What the engine reports of it since it has ended."""
        self.end: EndedRun | None = None
        """The same, whole: of the newest runs only."""
        self._first_failures: list[TaskView] = []
        self._room = room or Room()
        self._series: dict[tuple[str, str], Received] = {}
        self._counts: Counter[str] = Counter()
        self._recorded = 0
        self._exact = True
        self._stopped = False
        self._listed = False

    def fold(self, event: EventMessage) -> bool:
        """Take one event of this run; return False if it is a duplicate, which changes nothing else."""
        unknown = all(token != event.token for token, _ in self._series)
        if not self._received(event).add(event):
            return False
        if event.token != self.token:
            if not unknown or event.attempt < self.attempt or self._is_active_elsewhere(event.token):
                # late, of an earlier attempt, or made up: the engine lists another one as active
                return True
            self._begin(event)
        match event.content:
            case TaskStateBody() as body:
                self._fold_task(body, event.seconds)
            case LifecycleBody() as body:
                self._fold_lifecycle(body, event.seconds)
            case ProgressBody() as body:
                self._fold_progress(body)
            case _:
                pass
        return True

    def report(self, row: ActiveRun) -> None:
        """Take a row of the engine's report of its runs; it corrects what events of another token have said."""
        ended = self.recent
        if ended is not None and row.token and row.token == ended.token and ended.status != LOST:
            # the report of its end has overtaken this one
            return
        if ended is not None or self._is_another(row.token):
            # the run_id is used again, or events have forged an attempt
            self._begin_attempt()
            self.token, self.started = "", None
        self._take_token(row)
        self._listed = True
        self.reported = row
        self.target = row.target
        self.name, self.tags = row.name or self.name, row.tags or self.tags
        if self.started is None:
            self.started = seconds(row.started)
        if not self._stopped:
            self.status = RUNNING

    def has_end(self, row: RecentRun) -> bool:
        """Return whether such a row has told of this end before."""
        last = self.end if isinstance(row, EndedRun) else self.recent
        if last is None or (last.token, last.status) != (row.token, row.status):
            return False
        return seconds(last.ended) == seconds(row.ended)

    def report_end(self, row: RecentRun) -> None:
        """Take a row of a report of runs that have ended.

        A row of an earlier attempt changes nothing: of one that ended before a later end that the engine reports, or,
        if the engine names no tokens, before this attempt began.
        """
        ended = seconds(row.ended)
        if self._is_before_end(row, ended):
            return
        if self._is_another(row.token):
            self._begin_attempt()
            self.token, self.started = "", None
        elif ended is not None and self.started is not None and ended < self.started and not row.token:
            return
        self._take_token(row)
        self._listed = False
        self.recent = row
        self.end = row if isinstance(row, EndedRun) else self.end
        self.target = row.target
        self.name, self.tags = row.name or self.name, row.tags or self.tags
        self.started = seconds(row.started) if self.started is None else self.started
        self.by = row.by
        if not self._stopped:
            self.status = row.status if row.status in _ENDS else ENDED
            self.error, self.ended = row.error, ended
        self.forget_tasks()

    def unlisted(self) -> None:
        """Take note that the engine no longer reports this run; reports overtake its last events."""
        self._listed = False
        if not self._stopped and self.recent is None:
            self.status = ENDED

    def lost(self) -> None:
        """Take note that another process reports under the name of the one that ran this run."""
        self._listed = False
        if not self._stopped and self.recent is None:
            self.status = LOST

    def forget_tasks(self) -> None:
        """Forget the tasks that have not ended."""
        self._room.left += len(self.tasks)
        self.tasks.clear()

    @property
    def is_confirmed(self) -> bool:
        """Whether its engine has reported this attempt: events alone may be another client's."""
        row = self.recent or self.reported
        return row is not None and row.token in ("", self.token)

    @property
    def counts(self) -> dict[str, int]:
        """Tasks by state: from the events if all have arrived and no report has seen more tasks end, else from the report.

        Of a run that has ended, those of the report: it is not seen when the last events are missing.
        """
        row = self._counted_by
        if row is not None:
            return dict(row.counts)
        return {state: count for state, count in self._counts.items() if count}

    @property
    def recorded(self) -> int:
        """Tasks that were skipped because an earlier attempt has recorded them; from the same source as ``counts``."""
        row = self._counted_by
        return self._recorded if row is None else row.recorded

    @property
    def _counted_by(self) -> ActiveRun | RecentRun | None:
        """The row of a report that counts, or None where the events do."""
        if self.recent is not None or self.reported is None:
            return self.recent
        complete = self._exact and (self.token, EVENTS) in self._series and not self.missing
        # The last events of a process that was killed have not left it: no gap shows that, but its last report does.
        return None if complete and _ended(self.reported.counts) <= _ended(self._counts) else self.reported

    @property
    def known(self) -> int:
        """Tasks that the engine knows, as it has last reported; 0 before that."""
        row = self.recent or self.reported
        return 0 if row is None else row.known

    @property
    def failed(self) -> Sequence[FailedTask]:
        """The first tasks that failed, at most 20, of those whose failure a report or an event has shown."""
        reported = self.end.failures if self.end is not None else []
        return (
            reported if len(reported) >= len(self._first_failures) else [*map(_failed, self._first_failures)]
        )

    @property
    def partial(self) -> bool:
        """Whether the counts are made of events of which some did not arrive: no report has come that makes up for them."""
        return self.recent is None and self.reported is None and (self.missing > 0 or not self._exact)

    @property
    def messages(self) -> int:
        """Messages of telemetry that arrived, duplicates included."""
        return sum(each.messages for each in self._series.values())

    @property
    def duplicates(self) -> int:
        """Messages of telemetry that arrived again."""
        return sum(each.duplicates for each in self._series.values())

    @property
    def missing(self) -> int:
        """Messages of telemetry that were produced and did not arrive."""
        return sum(each.missing for each in self._series.values())

    def series(self) -> Mapping[tuple[str, str], Received]:
        """Return what arrived, by token and kind."""
        return dict(self._series)

    def _received(self, event: EventMessage) -> Received:
        key = (event.token, event.kind)
        received = self._series.get(key)
        if received is None:
            received = self._series[key] = Received()
            if len(self._series) > MAX_SERIES:
                del self._series[next(iter(self._series))]
        return received

    def _is_before_end(self, row: RecentRun, ended: float | None) -> bool:
        last = self.recent
        if last is None or not last.token or not row.token or row.token == last.token:
            return False
        return (ended or 0.0) < (seconds(last.ended) or 0.0)

    def _is_another(self, token: str) -> bool:
        return bool(token and self.token) and token != self.token

    def _is_active_elsewhere(self, token: str) -> bool:
        """Return whether the engine lists an attempt with another token as active, and that one has not ended."""
        listed = self.reported.token if self.reported is not None and self._listed else ""
        return bool(listed) and token != listed and not self._stopped

    def _take_token(self, row: ActiveRun | RecentRun) -> None:
        if row.token and not self.token:
            self.token, self.attempt = row.token, row.attempt
            # its earlier events were not counted
            self._exact = (row.token, EVENTS) not in self._series

    def _begin(self, event: EventMessage) -> None:
        if self.token:
            self.started, self.reported = None, None
        self._begin_attempt()
        self.token, self.attempt = event.token, event.attempt

    def _begin_attempt(self) -> None:
        self.forget_tasks()
        self.status, self.error, self.by, self.ended = RUNNING, "", "", None
        self.recent = self.end = None
        self.failures.clear()
        self._first_failures.clear()
        self._counts.clear()
        self._recorded = 0
        self._exact, self._stopped = True, False

    def _fold_lifecycle(self, body: LifecycleBody, at: float | None) -> None:
        if body.event == Lifecycle.ENGINE_STARTED:
            self.started = at
            self.name, self.tags = body.name, body.tags
        elif body.event == Lifecycle.ENGINE_STOPPED:
            self.status = body.status if body.status in _STATUSES else ENDED
            self.error, self.by = body.error or "", body.by
            self.ended = at
            self._stopped = True
            self.forget_tasks()

    def _fold_task(self, body: TaskStateBody, at: float | None) -> None:
        if body.state not in _STATES or not body.task_id or self._stopped:
            return
        task = _task(body, at)
        before = self.tasks.pop(task.task_id, None)
        if before is not None:
            self._counts[before.state] -= 1
            self._room.left += 1
            task.done, task.total = before.done, before.total
            task.message, task.unit = before.message, before.unit
        if task.state == TaskState.FAILED:
            self.failures.append(task)
            if len(self._first_failures) < FIRST_FAILURES:
                self._first_failures.append(task)
        if task.state not in ENDED_STATES:
            # what is not remembered is counted when it ends
            if self._room.left <= 0:
                self._exact = False
                return
            self._room.left -= 1
            self.tasks[task.task_id] = task
        self._counts[task.state] += 1
        self._recorded += task.state == TaskState.SKIPPED and is_recorded(task.reason)

    def _fold_progress(self, body: ProgressBody) -> None:
        task = self.tasks.get(body.task_id)
        if task is not None:
            task.done, task.total = body.done, body.total
            task.message, task.unit = body.message, body.unit


def _failed(task: TaskView) -> FailedTask:
    return FailedTask(
        task_id=task.task_id,
        task_name=task.name,
        error=task.error,
        attempt=task.attempt,
        ended=timestamp(task.since or 0.0),
    )


def _task(body: TaskStateBody, at: float | None) -> TaskView:
    return TaskView(
        body.task_id,
        body.task_name,
        body.state,
        since=at,
        duration_ms=body.duration_ms,
        error=body.error,
        reason=body.reason,
        attempt=body.attempt,
        parent=body.parent,
        item=body.item,
        node=body.node,
    )


def _ended(counts: Mapping[str, int]) -> int:
    """Return how many tasks have ended: that number never falls."""
    return sum(counts.get(state, 0) for state in ENDED_STATES)
