"""The messages of telemetry on ``cascade/telemetry/{org}/{project}/{run_id}/{kind}`` (``PROTOCOL.md``, section 2)."""

from __future__ import annotations

from typing import Annotated, Any

from msgspec import UNSET, Meta, UnsetType, field

from cascade.interfaces.events import Lifecycle, RunStatus, TaskState
from cascade.wire.message import Attempt, Message, Number, Tags, Whole


class TaskStateBody(Message, frozen=True, kw_only=True, tag_field="type", tag="TaskStateEvent"):
    """``body`` of a task's change of state.

    ``reason``, ``parent``, ``item`` and ``node`` only when they are set, ``attempt`` only from 2.
    """

    task_id: str
    task_name: str
    state: Annotated[str, Meta(extra_json_schema={"enum": [state.value for state in TaskState]})]
    duration_ms: Number
    error: str
    reason: str = ""
    attempt: Attempt = 1
    """Which try of the task this is."""
    parent: str = ""
    item: Whole | None = None
    """Index in its map."""
    node: str = ""


class LeaseOfRun(Message, frozen=True, kw_only=True):
    """The lease with which the clock has started a run."""

    name: str
    term: Whole


class LifecycleBody(Message, frozen=True, kw_only=True, tag_field="type", tag="LifecycleEvent"):
    """``body`` of a run's start or end.

    ``target`` only at the start, ``name``, ``tags``, ``kept``, ``lease`` and ``traceparent`` there and only when they are set, ``status``, ``error`` and ``by``
    only at the end.
    """

    event: Annotated[str, Meta(extra_json_schema={"enum": [event.value for event in Lifecycle]})]
    target: str = ""
    """Names of the run's targets."""
    name: str = ""
    tags: Tags = field(default_factory=dict)
    kept: Whole = 0
    """Steps whose result is kept from an earlier attempt."""
    traceparent: str = ""
    """Of the request that started the run: its trace."""
    status: Annotated[str, Meta(extra_json_schema={"enum": [status.value for status in RunStatus]})] = ""
    error: str | UnsetType = UNSET
    by: str = ""
    """Author of the cancel that ended the run."""
    lease: LeaseOfRun | None = None


class ProgressBody(Message, frozen=True, kw_only=True, tag_field="type", tag="ProgressEvent"):
    """``body`` of a task's progress; ``total`` is null when it is not known."""

    task_id: str
    task_name: str
    done: Number
    total: Number | None
    message: str = ""
    unit: str = ""


class LogBody(Message, frozen=True, kw_only=True, tag_field="type", tag="LogEvent"):
    """``body`` of a line of a log; ``skipped`` lines before it were not sent."""

    level: str
    """``INFO``, ``WARNING`` ..."""
    logger: str
    message: str
    task_id: str
    """Empty for a line that no task wrote."""
    task_name: str
    skipped: Whole


class DataBody(Message, frozen=True, kw_only=True, tag_field="type", tag="DataEvent"):
    """``body`` of a value that a task publishes."""

    name: Annotated[str, Meta(min_length=1)]
    data: Any
    task_id: str
    task_name: str


Body = TaskStateBody | LifecycleBody | ProgressBody | LogBody | DataBody


class Envelope(Message, frozen=True, kw_only=True):
    """One message of telemetry; ``attempt`` is that of the run, and only there from 2."""

    v: str
    ts: str
    run_id: str
    org_id: str
    project_id: str
    source: str
    seq: Whole
    token: str
    event_id: str
    body: Any
    attempt: Attempt = 1
