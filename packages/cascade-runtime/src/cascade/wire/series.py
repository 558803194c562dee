"""The messages of telemetry as an engine writes them: the body of each event, and the envelopes of a series."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from msgspec import UNSET

from cascade.interfaces.events import (
    MAX_LINE,
    DataEvent,
    Event,
    LifecycleEvent,
    LogEvent,
    ProgressEvent,
    TaskStateEvent,
)
from cascade.interfaces.redaction import MASK
from cascade.interfaces.tags import clean_tags
from cascade.interfaces.topics import EVENTS, telemetry_topic
from cascade.interfaces.wire import MAX_DEPTH, VERSION, new_token, timestamp
from cascade.wire.events import (
    Body,
    DataBody,
    Envelope,
    LeaseOfRun,
    LifecycleBody,
    LogBody,
    ProgressBody,
    TaskStateBody,
)
from cascade.wire.message import to_wire

MAX_MESSAGE = 200
"""Characters of the message of a progress."""
_CLEAN_AT_ONCE = 500
_MAX_UNIT = 50
_MAX_NAME = 200

Clean = Callable[[str], str]


class Series:
    """The messages of one kind of one attempt of a run, counted from 0.

    :param token: 8 hex digits, different for each attempt of a run; without one a random one is made.
    :param attempt: of the run, counted from 1.
    """

    __slots__ = ("_event_id", "_head", "seq", "topic")

    def __init__(
        self,
        run_id: str,
        *,
        org_id: str,
        project_id: str,
        source: str,
        token: str = "",
        attempt: int = 1,
        kind: str = EVENTS,
    ) -> None:
        self.seq = 0
        """Number of the next message."""
        self.topic = telemetry_topic(org_id, project_id, run_id, kind)
        token = token or new_token()
        self._event_id = f"{run_id}-{token}-" if kind == EVENTS else f"{run_id}-{token}-{kind}-"
        head = Envelope(
            v=VERSION,
            ts="",
            run_id=run_id,
            org_id=org_id,
            project_id=project_id,
            source=source,
            seq=0,
            token=token,
            event_id="",
            body=None,
            attempt=max(attempt, 1),
        )
        self._head = to_wire(head)

    def envelope(self, seconds: float, body: Body) -> dict[str, Any]:
        """Return a body as the next message; ``seconds`` since the epoch is when it happened."""
        seq = self.seq
        self.seq = seq + 1
        message = self._head.copy()  # most keys are the same
        message |= {"ts": timestamp(seconds), "seq": seq, "event_id": f"{self._event_id}{seq}"}
        message["body"] = to_wire(body)
        return message


def body_of(event: Event, clean: Clean = str) -> Body:
    """Return the ``body`` of an event; ``clean`` prepares free text to leave the process."""
    match event:
        case TaskStateEvent():
            return _task_state(event, clean)
        case LifecycleEvent():
            return _lifecycle(event, clean)
        case ProgressEvent():
            return _progress(event, clean)
        case LogEvent():
            return _log(event, clean)
        case DataEvent():
            return _data(event, clean)


def _task_state(event: TaskStateEvent, clean: Clean) -> TaskStateBody:
    return TaskStateBody(
        task_id=event.task_id,
        task_name=event.task_name,
        state=event.state.value,
        duration_ms=event.duration_ms,
        error=clean(event.error) if event.error else "",
        reason=clean(event.reason) if event.reason else "",
        attempt=max(event.attempt, 1),
        parent=event.parent,
        item=event.item,
        node=event.node,
    )


def _lifecycle(event: LifecycleEvent, clean: Clean) -> LifecycleBody:
    return LifecycleBody(
        event=event.event.value,
        target=clean(event.target) if event.target else "",
        name=clean(event.name) if event.name else "",
        tags=clean_tags(event.tags, clean),
        kept=event.kept,
        traceparent=event.traceparent,
        status=event.status.value if event.status is not None else "",
        error=clean(event.error) if event.status is not None else UNSET,
        by=clean(event.by)[:_MAX_NAME] if event.by else "",
        lease=LeaseOfRun(name=event.lease.name, term=event.lease.term) if event.lease is not None else None,
    )


def _progress(event: ProgressEvent, clean: Clean) -> ProgressBody:
    return ProgressBody(
        task_id=event.task_id,
        task_name=event.task_name,
        done=event.done,
        total=event.total,
        message=clean(event.message)[:MAX_MESSAGE] if event.message else "",
        unit=clean(event.unit)[:_MAX_UNIT] if event.unit else "",
    )


def _log(event: LogEvent, clean: Clean) -> LogBody:
    """Return the body of a line of a log, which its handler has masked as a whole; ``clean`` may cut a long text."""
    message = event.message[:MAX_LINE]
    return LogBody(
        level=event.level[:_MAX_UNIT],
        logger=event.logger[:_MAX_NAME],
        message=clean(message) if len(message) <= _CLEAN_AT_ONCE else message,
        task_id=event.task_id,
        task_name=event.task_name,
        skipped=event.skipped,
    )


def _data(event: DataEvent, clean: Clean) -> DataBody:
    return DataBody(
        name=clean(event.name)[:_MAX_NAME],
        data=_cleaned(event.data, clean),
        task_id=event.task_id,
        task_name=event.task_name,
    )


def _cleaned(value: Any, clean: Clean, depth: int = 0) -> Any:
    """Return a JSON value whose texts may leave the process; the values of keys named like secrets are masked."""
    if isinstance(value, str):
        return clean(value)
    if depth >= MAX_DEPTH:
        return None
    if isinstance(value, dict):
        return {
            clean(key): _cleaned(each, clean, depth + 1) if clean(f"{key}=0").endswith("=0") else MASK
            for key, each in value.items()
        }
    return [_cleaned(each, clean, depth + 1) for each in value] if isinstance(value, list) else value
