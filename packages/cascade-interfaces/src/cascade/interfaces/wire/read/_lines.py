"""Log lines and data that a run's code publishes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from cascade.interfaces.wire.read import _fields as fields
from cascade.interfaces.wire.read._messages import EventMessage


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
    if event.kind != "logs" or event.type != "LogEvent":
        return None
    body = event.body
    return LogLine(
        event.source,
        event.run_id,
        level=fields.text(body, "level"),
        logger=fields.text(body, "logger"),
        message=fields.text(body, "message"),
        task_id=fields.text(body, "task_id"),
        task_name=fields.text(body, "task_name"),
        skipped=fields.whole(body, "skipped") or 0,
        seconds=event.seconds,
    )


def data_item(event: EventMessage) -> DataItem | None:
    """Return the value of a ``DataEvent``, or None for any other event."""
    if event.kind != "data" or event.type != "DataEvent" or not fields.text(event.body, "name"):
        return None
    body = event.body
    return DataItem(
        event.source,
        event.run_id,
        name=fields.text(body, "name"),
        data=body.get("data"),
        task_id=fields.text(body, "task_id"),
        task_name=fields.text(body, "task_name"),
        seconds=event.seconds,
    )
