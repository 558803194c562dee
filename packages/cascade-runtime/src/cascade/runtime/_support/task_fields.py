"""The fields of events of tasks on an event bus of any kind."""

from __future__ import annotations

from collections.abc import Callable

from cascade.interfaces import EventBus, SupportsTaskFields, TaskFields, TaskStateEvent, supports


def publisher_of_fields(bus: EventBus) -> Callable[[TaskFields], None]:
    """Return what publishes the event of a task that has these fields."""
    if supports(bus, SupportsTaskFields):
        return bus.publish_fields
    return lambda fields: bus.publish(TaskStateEvent.of(fields))


def subscribe_fields(bus: EventBus, handler: Callable[[TaskFields], object]) -> Callable[[], None]:
    """Call ``handler`` with the fields of each event of a task; return how to stop."""
    if supports(bus, SupportsTaskFields):
        return bus.subscribe_fields(handler)
    return bus.subscribe(TaskStateEvent, lambda event: handler(event.fields()))
