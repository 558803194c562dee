"""What tests hear of an engine's runs."""

import logging
import time
from collections.abc import Callable
from typing import Any

import pytest

from cascade.interfaces import TaskStateEvent
from cascade.runtime import Engine


def watch(engine: Engine) -> list[Any]:
    """Return the list of all events of an engine from now on."""
    events: list[Any] = []
    engine.bus.subscribe(object, events.append)
    return events


def hold_the_loop(until: Callable[[], object]) -> None:
    """Block the event loop until its monitor, a thread, has seen it."""
    deadline = time.monotonic() + 50
    while not until() and time.monotonic() < deadline:
        time.sleep(0.01)


def watch_tasks(engine: Engine) -> list[TaskStateEvent]:
    """Return the list of what becomes of an engine's tasks from now on."""
    events: list[TaskStateEvent] = []
    engine.bus.subscribe(TaskStateEvent, events.append)
    return events


def lines_of(caplog: pytest.LogCaptureFixture, logger: str) -> list[logging.LogRecord]:
    """Return what one logger has logged, without what threads and collected objects of earlier tests add."""
    return [record for record in caplog.records if record.name == logger]
