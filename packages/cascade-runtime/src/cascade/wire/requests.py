"""Requests to start a workflow, their responses, and what an engine offers (``PROTOCOL.md``, section 6)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

from msgspec import UNSET, Meta, UnsetType, ValidationError, convert, field
from msgspec.structs import replace

from cascade.interfaces.traces import read_traceparent
from cascade.wire.message import Message, Number, Rows, Whole
from cascade.wire.reading import json_object
from cascade.wire.reports import Report, Status

MAX_REQUEST_BYTES = 64 * 1024
"""A longer request is refused before it is decoded."""
_LATEST = 1e11

RequestId = Annotated[str, Meta(pattern=r"^[A-Za-z0-9._-]{0,64}(?!\n)$")]


class StartRequest(Message, frozen=True, kw_only=True):
    """Asks to start a workflow once; ``{}`` starts a run with the defaults of all parameters."""

    id: RequestId = ""
    """The same id never starts a second run; without one nothing is remembered."""
    params: dict[str, Any] = field(default_factory=dict)
    """Values by name of the parameter."""
    expires_at: Number | None = None
    """Seconds since the epoch, or None: afterwards the request is refused."""
    by: str = ""
    """Who asks."""
    wait: bool = False
    """Whether the response is sent when the run has ended."""
    traceparent: str = ""
    """Of the trace to which the run belongs, as W3C Trace Context has it; a wrong one is ignored."""


class StartResponse(Message, frozen=True, kw_only=True):
    """What became of a request: one for each request."""

    id: str
    run_id: str = ""
    source: str
    status: Annotated[str, Meta(extra_json_schema={"enum": ["accepted", "refused", "ended"]})]
    code: Annotated[
        str,
        Meta(
            extra_json_schema={
                "enum": [
                    "",
                    "busy",
                    "unknown",
                    "invalid",
                    "expired",
                    "paused",
                    "retained",
                    "full",
                    "stopping",
                ]
            }
        ),
    ] = ""
    """Why it is refused, for a program; ``reason`` says it to a person."""
    reason: str = ""
    outcome: Annotated[str, Meta(extra_json_schema={"enum": ["", "Succeeded", "Failed", "Cancelled"]})] = ""
    """How the run ended."""
    error: str = ""
    duration_ms: Number | None = None
    value: Any | UnsetType = UNSET
    """What the run gave, only if the workflow sends its values."""


class LastRun(Message, frozen=True, kw_only=True):
    """How the latest run of a workflow ended."""

    run_id: str
    status: Status
    ended: str


class SkippedTick(Message, frozen=True, kw_only=True):
    """A tick that was due and did not start."""

    at: str
    code: Annotated[str, Meta(extra_json_schema={"enum": ["missed", "busy", "full", "paused", "stopping"]})]
    """Why, for a program; ``reason`` says it to a person."""
    reason: str


class OfferedSchedule(Message, frozen=True, kw_only=True):
    """When a workflow starts by itself; either ``cron`` or ``every`` is given."""

    cron: str | None = None
    every: str | None = None
    """Such as ``10m``."""
    tz: str | None = None
    """Time zone of ``cron``."""
    text: str
    """In words."""
    next: str | None = None
    """When it starts next, with the zone's offset; None while the clock is not set."""
    skipped: SkippedTick | None = None
    """The latest tick that did not start."""
    problem: str = ""
    """What is wrong with the clock."""


class OfferedLease(Message, frozen=True, kw_only=True):
    """The lease that a machine needs to start a workflow by the clock, as far as this one knows."""

    name: Annotated[str, Meta(min_length=1)]
    ttl: Number
    """Seconds."""
    held: bool = False
    """Whether the engine that reports holds it."""
    holder: str = ""
    """The source that has renewed it last; empty if none is known, as are ``term`` and ``since``."""
    term: Whole = 0
    since: str = ""
    """When the term began."""


class OfferedWorkflow(Message, frozen=True, kw_only=True):
    """A workflow that an engine starts when it is asked."""

    name: Annotated[str, Meta(min_length=1)]
    doc: str
    """The first paragraph of its description."""
    params: dict[str, Any]
    """JSON Schema of the parameters."""
    overlap: Annotated[str, Meta(extra_json_schema={"enum": ["skip", "queue", "allow"]})]
    """What becomes of a request while a run goes on."""
    accepting: bool
    """Whether requests are taken: not while the process stops."""
    digest: str = ""
    """Of the file that has the workflow: it changes with its code."""
    last: LastRun | None = None
    last_success: str = ""
    """When the last run that succeeded ended."""
    schedule: OfferedSchedule | None = None
    missed: Annotated[str, Meta(extra_json_schema={"enum": ["", "none", "one", "all"]})] = ""
    """With a schedule: what becomes of ticks that were missed."""
    lease: OfferedLease | None = None
    """With a schedule: the ticks of several machines start on the one that holds it."""


class WorkflowsReport(Report, frozen=True, kw_only=True):
    """What an engine offers to start."""

    workflows: Rows[OfferedWorkflow]
    more: Whole = 0
    """Workflows that the report leaves out."""
    problem: str = ""
    """Why nobody can start them, if the service knows."""
    ts: str


class RequestError(ValueError):
    """A message is not a valid request; the text says which key is wrong, and why.

    :param id_: its id, if it has a correct one: the answer goes there.
    """

    def __init__(self, problem: str, *, id_: str = "") -> None:
        super().__init__(problem)
        self.id = id_


def parse_request(payload: bytes | bytearray, *, traceparent: str = "") -> StartRequest:
    """Return the request in a payload; any bytes are accepted.

    :param traceparent: that of the message, which counts if the payload has none.
    :raises RequestError: with what is wrong, and where.
    """
    if len(payload) > MAX_REQUEST_BYTES:
        raise RequestError("the request is longer than 64 KiB")
    data = json_object(payload)
    if data is None:
        raise RequestError("the request is not a JSON object")
    try:
        request = convert(data, StartRequest)
    except (ValidationError, RecursionError) as error:
        raise RequestError(_problem(error), id_=_id_in(data)) from error
    if request.expires_at is not None and not 0 <= request.expires_at < _LATEST:
        raise RequestError("expires_at: needs seconds since the epoch, not milliseconds", id_=request.id)
    found = read_traceparent(request.traceparent) or traceparent
    return request if found == request.traceparent else replace(request, traceparent=found)


def parse_response(payload: bytes | bytearray) -> StartResponse | None:
    """Return the response in a payload; None if it is not one."""
    data = json_object(payload)
    if not isinstance(data, Mapping):
        return None
    try:
        return convert(data, StartResponse)
    except (ValidationError, RecursionError):
        return None


def _id_in(data: Mapping[str, Any]) -> str:
    """Return the id of a message whose other keys are wrong; empty if the id is wrong, too."""
    try:
        return convert(data.get("id", ""), RequestId)
    except ValidationError:
        return ""


def _problem(error: Exception) -> str:
    """Return ``params: expected object, got array``."""
    text, _, path = str(error).replace("`", "").partition(" - at $.")
    if path == "id":
        return "id: needs a text of at most 64 of the characters A-Z a-z 0-9 . _ -"
    return f"{path}: {text[:1].lower()}{text[1:]}" if path else text
