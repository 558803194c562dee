"""Log lines and data that a run's code publishes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from msgspec.structs import asdict

from cascade.interfaces.topics import DATA, LOGS
from cascade.wire.events import DataBody, LogBody
from cascade.wire.parsed import EventMessage


@dataclass(frozen=True, slots=True)
class LogLine:
    """One line of the log of a run's code."""

    source: str
    run_id: str
    level: str
    """``INFO``, ``WARNING`` ..."""
    logger: str
    message: str
    task_id: str = ""
    """Empty for a line that no task wrote."""
    task_name: str = ""
    skipped: int = 0
    """Lines before this one that were not sent, because there were too many."""
    seconds: float | None = None


@dataclass(frozen=True, slots=True)
class DataItem:
    """A value that a task has published with ``cs.publish(name, data)``."""

    source: str
    run_id: str
    name: str
    data: Any
    """Any JSON value, as it came."""
    task_id: str = ""
    task_name: str = ""
    seconds: float | None = None


def log_line(event: EventMessage) -> LogLine | None:
    """Return the line of a ``LogEvent``, or None for any other event."""
    if event.kind != LOGS or not isinstance(event.content, LogBody):
        return None
    return LogLine(event.source, event.run_id, **asdict(event.content), seconds=event.seconds)


def data_item(event: EventMessage) -> DataItem | None:
    """Return the value of a ``DataEvent``, or None for any other event."""
    if event.kind != DATA or not isinstance(event.content, DataBody):
        return None
    return DataItem(event.source, event.run_id, **asdict(event.content), seconds=event.seconds)
