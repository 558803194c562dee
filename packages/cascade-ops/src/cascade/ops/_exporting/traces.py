"""What the events of all engines say, for an observer of each run: as if it was in the engine's process. No I/O."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager

from cascade.interfaces.events import Event, Lifecycle, LifecycleEvent, RunStatus, TaskState, TaskStateEvent
from cascade.interfaces.observer import ENOUGH
from cascade.interfaces.traces import read_traceparent
from cascade.ops._collecting.message import Received, Series
from cascade.ops._exporting.ordered import Ordered
from cascade.wire import EventMessage, LifecycleBody, TaskStateBody

MOST_RUNS = 1_000
"""Attempts of runs that are followed at a time; of more, the one that was silent for longest is left."""
_ENDED = 10_000  # attempts that are known to have ended
_LATEST = 9e9  # seconds since the epoch: nanoseconds beyond have no room in OTLP
_LONGEST = 1e13  # milliseconds

_STATES = {state.value: state for state in TaskState}
_LIFECYCLES = {each.value: each for each in Lifecycle}
_STATUSES = {status.value: status for status in RunStatus}

Handler = Callable[[Event], object]


class Traces:
    """Follows each attempt of a run from its first event to its last one; threads may take turns.

    :param follow: returns what takes the events of an attempt.
    :param earlier: returns the stored events of an attempt that came before a moment, in their order: what a collector before
        this one has received.
    :param again: entered while handlers get events that the collector before has passed on.
    """

    def __init__(
        self,
        follow: Callable[[Series], Handler],
        earlier: Callable[[Series, float], Iterable[EventMessage]],
        again: Callable[[], AbstractContextManager[object]],
    ) -> None:
        self._follow = follow
        self._earlier = earlier
        self._again = again
        self._lock = threading.Lock()
        self._attempts: OrderedDict[Series, _Attempt] = OrderedDict()
        self._ended: OrderedDict[Series, None] = OrderedDict()
        self._of_run: dict[Series, Series] = {}
        """The attempt that is followed of each run: of a series without its token."""

    def take(self, messages: Sequence[Received], now: float) -> None:
        """Take messages that were stored.

        :param now: seconds of a clock that does not go back, as for :meth:`overdue`.
        """
        since = min((message.at for message in messages), default=0.0)
        with self._lock:
            for message in messages:
                number, series = message.counted, message.series
                if number is None or not series.token or series in self._ended:
                    continue
                attempt = self._attempts.get(series) or self._begun(message, since)
                if attempt is not None:
                    self._attempts.move_to_end(series)
                    self._feed(series, attempt, attempt.order.add(number, message.event, now))

    def overdue(self, now: float) -> None:
        """Go on where an event is missing and does not come."""
        with self._lock:
            for series, attempt in [*self._attempts.items()]:
                self._feed(series, attempt, attempt.order.overdue(now))

    def close(self) -> None:
        """Take all that still waits for what is missing."""
        with self._lock:
            for series, attempt in [*self._attempts.items()]:
                self._feed(series, attempt, attempt.order.rest())

    def _begun(self, message: Received, since: float) -> _Attempt | None:
        """Return a new attempt, as far as the file knows it; None if it has ended there."""
        series = message.series
        before = list(self._earlier(series, since))
        # what comes first need not have the lowest number
        first = (before[-1].seq or 0) + 1 if before else 0
        attempt = self._attempts[series] = _Attempt(self._follow(series), Ordered(first))
        self._end_earlier(series, message.event)
        while len(self._attempts) > MOST_RUNS:
            self._leave(next(iter(self._attempts)))
        with self._again():
            self._feed(series, attempt, before)
        return self._attempts.get(series)

    def _end_earlier(self, series: Series, event: EventMessage) -> None:
        """End the attempts before of a run: their process was killed, or their end is lost."""
        run = series._replace(token="")
        other, self._of_run[run] = self._of_run.get(run), series
        if other is not None and (attempt := self._attempts.get(other)) is not None and attempt.at:
            reason = f"its end has not come; the run goes on in attempt {event.attempt}"
            ended = (Lifecycle.ENGINE_STOPPED, attempt.at, RunStatus.FAILED, reason)
            attempt.handler(LifecycleEvent(series.run_id, *ended, token=other.token))
            self._end(other)

    def _feed(self, series: Series, attempt: _Attempt, messages: Iterable[EventMessage]) -> None:
        for message in messages:
            try:
                over = attempt.take(message)
            except Exception:
                # whatever a client has sent: this attempt is left, the others go on
                over = True
            if over:
                self._end(series)
                return

    def _end(self, series: Series) -> None:
        self._leave(series)
        self._ended[series] = None
        if len(self._ended) > _ENDED:
            self._ended.popitem(last=False)

    def _leave(self, series: Series) -> None:
        del self._attempts[series]
        run = series._replace(token="")
        if self._of_run.get(run) == series:
            del self._of_run[run]


class _Attempt:
    """An attempt of a run that has not ended."""

    __slots__ = ("at", "handler", "order")

    def __init__(self, handler: Handler, order: Ordered) -> None:
        self.handler = handler
        self.order = order
        self.at = 0.0
        """When its latest event was; 0 before the first."""

    def take(self, message: EventMessage) -> bool:
        """Take a message in its turn; return whether no other one is needed."""
        event = event_of(message)
        if event is None:
            return False
        if not self.at and not _is_start(event):
            # its start is lost: what is known of the run is in each message
            self.handler(
                LifecycleEvent(
                    event.run_id,
                    Lifecycle.ENGINE_STARTED,
                    event.timestamp,
                    token=event.token,
                    run_attempt=event.run_attempt,
                )
            )
        self.at = event.timestamp
        enough = self.handler(event) is ENOUGH
        return enough or (isinstance(event, LifecycleEvent) and not _is_start(event))


def _is_start(event: Event) -> bool:
    return isinstance(event, LifecycleEvent) and event.event is Lifecycle.ENGINE_STARTED


def event_of(message: EventMessage) -> TaskStateEvent | LifecycleEvent | None:
    """Return the event that a message was made of; None for another kind, or one that cannot be."""
    body, at = message.content, message.seconds
    if at is None or not 0 < at < _LATEST:
        return None
    if isinstance(body, TaskStateBody) and body.state in _STATES:
        return TaskStateEvent(
            message.run_id,
            body.task_id,
            body.task_name,
            _STATES[body.state],
            at,
            duration_ms=body.duration_ms if 0 <= body.duration_ms < _LONGEST else 0.0,
            error=body.error,
            reason=body.reason,
            attempt=body.attempt,
            parent=body.parent,
            item=body.item,
            node=body.node,
            token=message.token,
            run_attempt=message.attempt,
        )
    if isinstance(body, LifecycleBody) and body.event in _LIFECYCLES:
        return LifecycleEvent(
            message.run_id,
            _LIFECYCLES[body.event],
            at,
            status=_STATUSES.get(body.status),
            error=body.error if isinstance(body.error, str) else "",
            name=body.name,
            tags=body.tags,
            token=message.token,
            run_attempt=message.attempt,
            by=body.by,
            target=body.target,
            traceparent=read_traceparent(body.traceparent),
        )
    return None
