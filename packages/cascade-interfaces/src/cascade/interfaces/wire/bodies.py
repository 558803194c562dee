"""The ``body`` of messages that say more of a run than its events: progress, logs, data."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NotRequired, TypedDict

from cascade.interfaces.events import DataEvent, LogEvent, ProgressEvent
from cascade.interfaces.redaction import MASK

MAX_MESSAGE = 200
"""Characters of the message of a progress."""
MAX_LINE = 1_000
"""Characters of a line of a log."""
_CLEAN_AT_ONCE = 500
_MAX_UNIT = 50
_MAX_NAME = 200
_MAX_DEPTH = 64

Clean = Callable[[str], str]


class ProgressBody(TypedDict):
    """``body`` of a task's progress; ``total`` is null when it is not known."""

    type: str
    task_id: str
    task_name: str
    done: float
    total: float | None
    message: NotRequired[str]
    unit: NotRequired[str]


class LogBody(TypedDict):
    """``body`` of a line of a log; ``skipped`` lines before it were not sent."""

    type: str
    level: str
    logger: str
    message: str
    task_id: str
    task_name: str
    skipped: int


class DataBody(TypedDict):
    """``body`` of a value that a task publishes."""

    type: str
    name: str
    data: Any
    task_id: str
    task_name: str


def progress_body(event: ProgressEvent, clean: Clean) -> ProgressBody:
    """Return the body of a progress."""
    body: ProgressBody = {
        "type": "ProgressEvent",
        "task_id": event.task_id,
        "task_name": event.task_name,
        "done": event.done,
        "total": event.total,
    }
    if event.message:
        body["message"] = clean(event.message)[:MAX_MESSAGE]
    if event.unit:
        body["unit"] = clean(event.unit)[:_MAX_UNIT]
    return body


def log_body(event: LogEvent, clean: Clean) -> LogBody:
    """Return the body of a line of a log, which its handler has masked as a whole; ``clean`` may cut a long text."""
    message = event.message[:MAX_LINE]
    return {
        "type": "LogEvent",
        "level": event.level[:_MAX_UNIT],
        "logger": event.logger[:_MAX_NAME],
        "message": clean(message) if len(message) <= _CLEAN_AT_ONCE else message,
        "task_id": event.task_id,
        "task_name": event.task_name,
        "skipped": event.skipped,
    }


def data_body(event: DataEvent, clean: Clean) -> DataBody:
    """Return the body of a value that a task publishes; its texts are cleaned."""
    return {
        "type": "DataEvent",
        "name": clean(event.name)[:_MAX_NAME],
        "data": _cleaned(event.data, clean),
        "task_id": event.task_id,
        "task_name": event.task_name,
    }


def _cleaned(value: Any, clean: Clean, depth: int = 0) -> Any:
    """Return a JSON value whose texts may leave the process; the values of keys named like secrets are masked."""
    if isinstance(value, str):
        return clean(value)
    if depth >= _MAX_DEPTH:
        return None
    if isinstance(value, dict):
        return {
            clean(key): _cleaned(each, clean, depth + 1) if clean(f"{key}=0").endswith("=0") else MASK
            for key, each in value.items()
        }
    return [_cleaned(each, clean, depth + 1) for each in value] if isinstance(value, list) else value
