"""The events of one run and its tasks, published on the bus; without a subscriber they cost nothing."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

from cascade.interfaces import (
    Clock,
    DataEvent,
    Event,
    EventBus,
    Lifecycle,
    LifecycleEvent,
    LogEvent,
    ProgressEvent,
    RunStatus,
    TaskState,
    TaskStateEvent,
)
from cascade.interfaces.logs import get_logger
from cascade.interfaces.redaction import describe
from cascade.interfaces.wire import new_token
from cascade.runtime._graph.keys import without_run_parts
from cascade.runtime._graph.node import Node
from cascade.runtime._scheduler.state import RunState
from cascade.runtime._support.run_facts import RunFacts
from cascade.runtime._support.settings import RunIdentity

if TYPE_CHECKING:
    from cascade.runtime._scheduler.graph_counts import GraphCounts

_log = get_logger("cascade.bus")

ProgressReport = tuple[float, float | None, str, str]
"""How far a task is: done, total, a message, and the unit of both numbers."""


class EventEmitter:
    """Makes the events of one run: ``started`` is the first, ``stopped`` the last, whatever still runs."""

    def __init__(
        self,
        run: RunIdentity,
        bus: EventBus,
        clock: Clock,
        *,
        facts: RunFacts | None = None,
        attempt: int = 1,
        kept: int = 0,
        target: str = "",
    ) -> None:
        self._run = run
        self._target = target
        self._attempt = attempt
        self._kept = kept
        self._run_id = run.run_id
        self.token = new_token()
        """Of this attempt, in each of its events and in the rows of the engine's report of its runs."""
        self._bus = bus
        self.wants_tasks: Callable[[], bool] = partial(bus.wants, TaskStateEvent)
        """Whether the bus has a subscriber for what becomes of tasks; asked before each task."""
        self._clock = clock
        self._facts = facts
        self._graph_counts = _graph_counts(facts) if facts is not None else None
        self._closed = False
        self._failed = False

    def started(self) -> float:
        """Report that the run begins; return when, in seconds since the epoch."""
        now = self._clock.now()
        self._publish(
            LifecycleEvent(
                self._run_id,
                Lifecycle.ENGINE_STARTED,
                now,
                name=self._run.name,
                tags=self._run.tags,
                kept=self._kept,
                lease=self._run.lease,
                target=self._target,
                traceparent=self._run.traceparent,
                token=self.token,
                run_attempt=self._attempt,
            )
        )
        return now

    def close(self) -> None:
        """Report nothing more about tasks."""
        self._closed = True
        self.wants_tasks = _never

    def stopped(self, status: RunStatus, error: str, by: str = "") -> float:
        """Report that the run is over: its last event; return when, in seconds since the epoch."""
        self.close()
        event = LifecycleEvent(
            self._run_id,
            Lifecycle.ENGINE_STOPPED,
            self._clock.now(),
            status,
            error,
            token=self.token,
            run_attempt=self._attempt,
            by=by,
        )
        self._publish(event)
        return event.timestamp

    def task(
        self,
        node: Node,
        state: TaskState,
        began: float = 0.0,
        *,
        error: BaseException | None = None,
        reason: str = "",
    ) -> None:
        """Report that a task changed its state; ``began`` is when it began on the monotonic clock, 0 before."""
        if not self.wants_tasks():
            return
        try:
            self._bus.publish(self.made(node, state, began, error=error, reason=reason))
        except Exception:
            self._report_failure()

    def made(
        self,
        node: Node,
        state: TaskState,
        began: float = 0.0,
        *,
        error: BaseException | None = None,
        reason: str = "",
    ) -> TaskStateEvent:
        """Return the event that :meth:`task` publishes."""
        scope, name = node.scope, node.definition.name
        inside = node.origin is not None or scope.target is not None
        key = node.known_key or node.key
        clock = self._clock
        # Three digits; round(..., 3) takes longer, and so do keywords below.
        milliseconds = round((clock.monotonic() - began) * 1e6) / 1e3 if began else 0.0
        return TaskStateEvent(
            self._run_id,
            key,
            name,
            state,
            clock.now(),
            milliseconds,
            describe(error) if error is not None else "",
            reason,
            node.attempt,
            node.parent if inside else "",
            node.item if inside else None,
            (without_run_parts(key) if inside else key) if scope.names.get(name, 0) > 1 else "",
            self.token,
            self._attempt,
        )

    def expanded(self, nodes: Sequence[Node], by: Node | None = None) -> None:
        """Report new nodes of the graph; ``by`` is a map or a route that expands no further."""
        if self._closed:
            return
        if self._graph_counts is not None:
            self._graph_counts.add(nodes, by)

    def built(self, state: RunState) -> None:
        """Note that the first graph is built; ``state`` counts tasks that are ready and wait."""
        if self._graph_counts is not None and self._facts is not None:
            self._graph_counts.built()
            self._facts.waits_for_slot = state.waits_for_slot
            self._facts.over_map_limits = state.over_map_limits

    def waits(self, node: Node, seconds: float) -> None:
        """Note that the next attempt of a task begins after so many seconds."""
        if self._facts is not None:
            self._facts.retries[node.key] = self._clock.now() + seconds

    def attempt_begins(self, node: Node) -> None:
        """Note that the next attempt of a task begins: no event shows it."""
        if self._facts is not None:
            self._facts.attempt_begins(node.key)

    def progress(self, node: Node, report: ProgressReport) -> None:
        """Report how far a task is."""
        if not self._closed and self._bus.wants(ProgressEvent):
            done, total, message, unit = report
            self._publish(
                ProgressEvent(
                    self._run_id,
                    node.key,
                    node.name,
                    self._clock.now(),
                    done,
                    total,
                    token=self.token,
                    run_attempt=self._attempt,
                    message=message,
                    unit=unit,
                )
            )

    def log(
        self, node: Node | None, seconds: float, level: str, logger: str, message: str, skipped: int
    ) -> None:
        """Publish a line that a task logged, or other code of the run; ``message`` is masked already."""
        if not self._closed and self._bus.wants(LogEvent):
            key, name = (node.key, node.name) if node is not None else ("", "")
            self._publish(
                LogEvent(
                    self._run_id,
                    key,
                    name,
                    seconds,
                    level,
                    logger,
                    message,
                    skipped,
                    token=self.token,
                    run_attempt=self._attempt,
                )
            )

    def data(self, node: Node, name: str, data: Any) -> None:
        """Publish a value of a task; ``data`` is a JSON value that nothing else refers to."""
        if not self._closed and self._bus.wants(DataEvent):
            self._publish(
                DataEvent(
                    self._run_id,
                    node.key,
                    node.name,
                    self._clock.now(),
                    name,
                    data,
                    token=self.token,
                    run_attempt=self._attempt,
                )
            )

    def _publish(self, event: Event) -> None:
        try:
            self._bus.publish(event)
        except Exception:
            self._report_failure()

    def _report_failure(self) -> None:
        """Log once that a bus failed which the user wrote: a failing observer must not change a run."""
        if not self._failed:
            self._failed = True
            _log.exception(
                "the event bus %r failed; the run goes on, further failures are not logged", self._bus
            )


def _graph_counts(facts: RunFacts) -> GraphCounts:
    # only runs that report to watchers count
    from cascade.runtime._scheduler.graph_counts import GraphCounts

    return GraphCounts(facts)


def _never() -> bool:
    """Return that no event is wanted."""
    return False
