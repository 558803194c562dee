"""What tests hear of an engine's runs."""

from typing import Any

from cascade.interfaces import TaskStateEvent
from cascade.runtime import Engine


def watch(engine: Engine) -> list[Any]:
    """Return the list of all events of an engine from now on."""
    events: list[Any] = []
    engine.bus.subscribe(object, events.append)
    return events


def watch_tasks(engine: Engine) -> list[TaskStateEvent]:
    """Return the list of what becomes of an engine's tasks from now on."""
    events: list[TaskStateEvent] = []
    engine.bus.subscribe(TaskStateEvent, events.append)
    return events
