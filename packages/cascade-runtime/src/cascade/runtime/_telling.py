"""Tells the event bus what becomes of one run's tasks; costs nothing while nobody listens."""

from __future__ import annotations

from cascade.interfaces import Clock, EventBus, ProgressEvent, TaskState, TaskStateEvent
from cascade.runtime.checkpoint import PROGRESS_INTERVAL
from cascade.runtime.graph import Node
from cascade.runtime.telemetry.redaction import describe


class Teller:
    """Makes the events of one run."""

    def __init__(self, run_id: str, bus: EventBus, clock: Clock) -> None:
        self._run_id = run_id
        self._bus = bus
        self._clock = clock
        self._progressed: dict[Node, float] = {}

    def task(
        self,
        node: Node,
        state: TaskState,
        began: float = 0.0,
        *,
        error: Exception | None = None,
        reason: str = "",
    ) -> None:
        """Tell that a task changed its state; ``began`` is when it began on the monotonic clock, 0 before."""
        if not self._bus.wants(TaskStateEvent):
            return
        self._bus.publish(
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
        """Tell how far a task is, unless it was told a moment ago; from any thread."""
        now = self._clock.monotonic()
        if now - self._progressed.get(node, -PROGRESS_INTERVAL) < PROGRESS_INTERVAL:
            return
        self._progressed[node] = now
        if self._bus.wants(ProgressEvent):
            event = ProgressEvent(self._run_id, node.task_id, node.name, self._clock.now(), done, total)
            self._bus.publish(event)
