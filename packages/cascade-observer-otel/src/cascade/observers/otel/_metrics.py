"""The metrics of the runs of this process, with the names that ``cascade collect --prometheus`` serves."""

from __future__ import annotations

from typing import Any

from opentelemetry import metrics

from cascade.interfaces.events import (
    ENDED_STATES,
    Event,
    Lifecycle,
    LifecycleEvent,
    RunStatus,
    TaskState,
    TaskStateEvent,
)

BUCKETS = (0.005, 0.01, 0.05, 0.1, 0.5, 1.0, 5.0, 10.0, 30.0, 60.0, 300.0, 1800.0)
"""Upper bounds of durations in seconds."""
_API = "opentelemetry.metrics"


class Instruments:
    """What counts the tasks and runs of this process; made once for each meter provider."""

    def __init__(self, provider: Any) -> None:
        meter = metrics.get_meter("cascade", meter_provider=provider)
        self.tasks = meter.create_counter("cascade_tasks", description="Tasks that have ended")
        self.runs = meter.create_counter("cascade_runs", description="Runs that have ended")
        self.now = meter.create_up_down_counter(
            "cascade_tasks_now", description="Tasks of active runs by state"
        )
        self.seconds = meter.create_histogram(
            "cascade_task_seconds",
            unit="s",
            description="Durations of calls that have completed",
            explicit_bucket_boundaries_advisory=BUCKETS,
        )


def instruments(provider: Any) -> Instruments | None:
    """Return instruments of a meter provider, by default the program's; None where only the API is there, which drops all."""
    found = provider or metrics.get_meter_provider()
    return None if type(found).__module__.startswith(_API) else Instruments(found)


class RunMetrics:
    """Counts what happens in one run."""

    def __init__(self, made: Instruments) -> None:
        self._made = made
        self._target = ""
        self._now: dict[str, TaskState] = {}

    def handle(self, event: Event) -> None:
        """Take an event."""
        if isinstance(event, TaskStateEvent):
            self._of_task(event)
        elif isinstance(event, LifecycleEvent):
            if event.event is Lifecycle.ENGINE_STARTED:
                self._target = event.target
                return
            status = event.status or RunStatus.FAILED
            self._made.runs.add(1, {"target": self._target, "status": status.value})
            for state in self._now.values():
                self._made.now.add(-1, {"state": state.value})
            self._now.clear()

    def _of_task(self, event: TaskStateEvent) -> None:
        state, made = event.state, self._made
        if (before := self._now.pop(event.task_id, None)) is not None:
            made.now.add(-1, {"state": before.value})
        if state not in ENDED_STATES:
            self._now[event.task_id] = state
            made.now.add(1, {"state": state.value})
            return
        made.tasks.add(1, {"task": event.task_name, "state": state.value})
        if state is TaskState.COMPLETED:
            made.seconds.record(event.duration_ms / 1_000, {"task": event.task_name})
