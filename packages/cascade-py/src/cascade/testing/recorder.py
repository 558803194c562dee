"""A recorder of a run's events."""

from __future__ import annotations

from cascade.interfaces import EventBus, LifecycleEvent, ProgressEvent, TaskState, TaskStateEvent


class Recorder:
    """Keeps every event of a bus: ``recorder = Recorder(bus); cs.run(target, bus=bus)``."""

    def __init__(self, bus: EventBus) -> None:
        self.tasks: list[TaskStateEvent] = []
        self.lifecycle: list[LifecycleEvent] = []
        self.progress: list[ProgressEvent] = []
        self._stop = [
            bus.subscribe(TaskStateEvent, self.tasks.append),
            bus.subscribe(LifecycleEvent, self.lifecycle.append),
            bus.subscribe(ProgressEvent, self.progress.append),
        ]

    def states(self, task_name: str) -> list[TaskState]:
        """Return the states that calls of this task went through, in order."""
        return [event.state for event in self.tasks if event.task_name == task_name]

    def count(self, state: TaskState, task_name: str | None = None) -> int:
        """Return how often a state was published, for one task or for all."""
        return sum(e.state is state and task_name in (None, e.task_name) for e in self.tasks)

    def close(self) -> None:
        """Listen no more; what was recorded stays."""
        for stop in self._stop:
            stop()
