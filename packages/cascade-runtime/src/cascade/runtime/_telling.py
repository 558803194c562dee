"""Tells the event bus what becomes of one run and its tasks; costs nothing while nobody listens."""

from __future__ import annotations

import logging

from cascade.interfaces import (
    Clock,
    Event,
    EventBus,
    Lifecycle,
    LifecycleEvent,
    ProgressEvent,
    RunStatus,
    TaskState,
    TaskStateEvent,
)
from cascade.runtime.node import Node
from cascade.runtime.telemetry.redaction import describe

_log = logging.getLogger("cascade.bus")


class Teller:
    """Makes the events of one run: ``started`` is the first, ``stopped`` the last, whatever still runs."""

    def __init__(self, run_id: str, bus: EventBus, clock: Clock) -> None:
        self._run_id = run_id
        self._bus = bus
        self._clock = clock
        self._closed = False
        self._failed = False

    def wants_tasks(self) -> bool:
        """Return whether anybody would hear what becomes of a task."""
        return not self._closed and self._bus.wants(TaskStateEvent)

    def started(self) -> None:
        """Tell that the run begins."""
        self._publish(LifecycleEvent(self._run_id, Lifecycle.ENGINE_STARTED, self._clock.now()))

    def close(self) -> None:
        """Tell nothing more of tasks."""
        self._closed = True

    def stopped(self, status: RunStatus, error: str) -> None:
        """Tell that the run is over; nothing is told of it after this."""
        self.close()
        event = LifecycleEvent(self._run_id, Lifecycle.ENGINE_STOPPED, self._clock.now(), status, error)
        self._publish(event)

    def task(
        self,
        node: Node,
        state: TaskState,
        began: float = 0.0,
        *,
        error: BaseException | None = None,
        reason: str = "",
    ) -> None:
        """Tell that a task changed its state; ``began`` is when it began on the monotonic clock, 0 before."""
        if self._closed or not self._bus.wants(TaskStateEvent):
            return
        self._publish(
            TaskStateEvent(
                self._run_id,
                node.task_id,
                node.definition.name,
                state,
                self._clock.now(),
                round((self._clock.monotonic() - began) * 1000, 3) if began else 0.0,
                describe(error) if error is not None else "",
                reason,
            )
        )

    def progress(self, node: Node, done: float, total: float | None) -> None:
        """Tell how far a task is."""
        if not self._closed and self._bus.wants(ProgressEvent):
            self._publish(
                ProgressEvent(self._run_id, node.task_id, node.name, self._clock.now(), done, total)
            )

    def _publish(self, event: Event) -> None:
        try:
            self._bus.publish(event)
        except Exception:  # a bus of the user's own: no observer may change a run
            if not self._failed:
                self._failed = True
                _log.exception(
                    "the event bus %r failed; the run goes on, further failures are not logged", self._bus
                )
