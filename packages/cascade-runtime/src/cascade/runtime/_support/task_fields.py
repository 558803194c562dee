"""The fields of events of tasks on an event bus of any kind."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

from cascade.interfaces import (
    EventBus,
    SupportsTaskBursts,
    SupportsTaskFields,
    TaskFields,
    TaskStateEvent,
    supports,
)


class TaskPublisher(Protocol):
    """Publishes events of tasks; see ``SupportsTaskBursts``."""

    @property
    def waiting(self) -> list[TaskFields] | None:
        """Where to append fields instead of a call of :meth:`publish_soon`, unless ``MOST_WAITING`` wait; None: call it."""
        ...

    def publish_fields(self, fields: TaskFields) -> None:
        """Deliver an event now."""
        ...

    def publish_soon(self, fields: TaskFields) -> None:
        """Deliver an event now, or in the next iteration of the event loop."""
        ...

    def publish_waiting(self) -> None:
        """Deliver what waits."""
        ...


class _AtOnce:
    """Publishes on a bus that knows no bursts."""

    waiting = None

    def __init__(self, bus: EventBus) -> None:
        self._publish: Callable[[TaskFields], None] = (
            bus.publish_fields
            if supports(bus, SupportsTaskFields)
            else lambda fields: bus.publish(TaskStateEvent.of(fields))
        )

    def publish_fields(self, fields: TaskFields) -> None:
        self._publish(fields)

    def publish_soon(self, fields: TaskFields) -> None:
        self._publish(fields)

    def publish_waiting(self) -> None:
        """Do nothing."""


def task_publisher(bus: EventBus) -> TaskPublisher:
    """Return what publishes events of tasks on a bus."""
    return bus if supports(bus, SupportsTaskBursts) else _AtOnce(bus)


def subscribe_fields(bus: EventBus, handler: Callable[[TaskFields], object]) -> Callable[[], None]:
    """Call ``handler`` with the fields of each event of a task; return how to stop."""
    if supports(bus, SupportsTaskFields):
        return bus.subscribe_fields(handler)
    return bus.subscribe(TaskStateEvent, lambda event: handler(event.fields()))


def subscribe_bursts(bus: EventBus, handler: Callable[[Sequence[TaskFields]], object]) -> Callable[[], None]:
    """Call ``handler`` with the fields of each event of a task, alone or with those that came next; return how to stop."""
    if supports(bus, SupportsTaskBursts):
        return bus.subscribe_bursts(handler)
    return subscribe_fields(bus, lambda fields: handler((fields,)))
