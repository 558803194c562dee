"""One message of the wire, read from its topic and its bytes."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from cascade.interfaces.control_messages import constraint_id
from cascade.interfaces.subjects import topic_of
from cascade.interfaces.topics import (
    DATA,
    EVENTS,
    STORE_TOPIC,
    constraint_topic,
    is_canonical,
    parse_ack_topic,
    parse_constraint_topic,
    parse_state_topic,
    parse_status_topic,
    parse_telemetry_topic,
)
from cascade.wire.ended import EndedReport
from cascade.wire.events import Body, DataBody, Envelope, LifecycleBody, LogBody, ProgressBody, TaskStateBody
from cascade.wire.presence import Birth, ConstraintByHand, Offline
from cascade.wire.reading import bounded, is_version_1, json_object, read, read_row, seconds
from cascade.wire.reports import (
    Acknowledgement,
    ConstraintsReport,
    GraphReport,
    HostReport,
    RunsReport,
    Summary,
)
from cascade.wire.requests import WorkflowsReport

MAX_NAME = 1_000
"""Characters of the longest name of a run, a source or a register that is accepted."""
MAX_REGISTER_BYTES = 64 * 1024
"""Engines refuse a longer register."""
MAX_DATA_BYTES = 64 * 1024
"""A longer message of the kind ``data`` is not read."""
MAX_REPORT_BYTES = 128 * 1024
"""A longer report is not read: engines send at most 64 KiB."""
_SUBJECT = re.compile(r"[A-Za-z0-9_=/-]+")
_BODIES: dict[object, type[Body]] = {
    "TaskStateEvent": TaskStateBody,
    "LifecycleEvent": LifecycleBody,
    "ProgressEvent": ProgressBody,
    "LogEvent": LogBody,
    "DataEvent": DataBody,
}
_REPORTS: dict[str, type[Report]] = {
    "constraints": ConstraintsReport,
    "runs": RunsReport,
    "graph": GraphReport,
    "ended": EndedReport,
    "summary": Summary,
    "host": HostReport,
    "workflows": WorkflowsReport,
}


@dataclass(frozen=True, slots=True)
class EventMessage:
    """One message of telemetry."""

    run_id: str
    body: Mapping[str, Any]
    """As it came."""
    kind: str = EVENTS
    """Last level of the topic: ``events``, ``progress`` ..."""
    org_id: str = ""
    project_id: str = ""
    source: str = ""
    seq: int | None = None
    token: str = ""
    attempt: int = 1
    """Of the run."""
    event_id: str = ""
    seconds: float | None = None
    """When it happened, in seconds since the epoch by the clock of its source."""
    content: Body | None = None
    """The body, read; None if its type is not known or one of its values is wrong."""

    @property
    def type(self) -> str:
        """``TaskStateEvent``, ``LifecycleEvent`` ...; empty if the body names none."""
        found = self.body.get("type")
        return found if isinstance(found, str) else ""


@dataclass(frozen=True, slots=True)
class Presence:
    """Whether the process of a source is connected."""

    source: str
    online: bool
    session: str = ""
    reason: str = ""
    """``ended`` when the process has announced that it leaves; empty when the broker reports it lost."""
    host: str = ""
    pid: int | None = None
    version: str = ""
    seconds: float | None = None
    """When the process connected, in seconds since the epoch."""


@dataclass(frozen=True, slots=True)
class Register:
    """The content of one register, as the broker retains it."""

    topic: str
    scope: str
    type: str
    """Empty if neither the topic nor the message names one."""
    id: str = ""
    params: Mapping[str, Any] | None = None
    expires_at: float | None = None
    """Seconds since the epoch, or None."""
    by: str = ""
    """The author, where the writer names one."""
    problem: str = ""
    """Why no reader can obey it; engines report what else they refuse."""


@dataclass(frozen=True, slots=True)
class Store:
    """The identity of the broker's store."""

    store: str


@dataclass(frozen=True, slots=True)
class Cleared:
    """A retained topic was cleared."""

    topic: str


Report = ConstraintsReport | RunsReport | GraphReport | EndedReport | Summary | HostReport | WorkflowsReport
Parsed = EventMessage | Presence | Register | Store | Report | Acknowledgement | Cleared


def parse(topic: str, payload: bytes | bytearray) -> Parsed | None:
    """Return the message on any topic of Cascade, or None for one that is not understood."""
    for parse_one in (parse_event, parse_report, parse_presence, parse_register, parse_ack):
        message = parse_one(topic, payload)
        if message is not None:
            return message
    return None


def parse_event(topic: str, payload: bytes | bytearray) -> EventMessage | None:
    """Return a message of telemetry, or None if it is not one.

    It needs the topic's ``run_id`` and a ``body``; every other key may be missing. The topic may have its names as
    nats-server shows them to MQTT clients when its own client has sent the message: with ``=2E`` for a dot.
    """
    found = parse_telemetry_topic(topic)
    too_long = found is not None and found[3] == DATA and len(payload) > MAX_DATA_BYTES
    data = json_object(payload) if found and not too_long else None
    if found is None or not data or not is_version_1(data):
        return None
    if "=" in topic and (other := _of_subject(topic, data)) is not None and other[3] == found[3]:
        found = other
    run_id, body = data.get("run_id"), data.get("body")
    if not run_id or run_id != found[2] or len(run_id) > MAX_NAME or not isinstance(body, dict):
        return None
    envelope = read(Envelope, {**bounded({**data, "body": None}), "body": body})
    has_seq = "seq" in data
    if has_seq and (type(data["seq"]) is not int or envelope.seq != data["seq"]):
        return None
    return EventMessage(
        run_id,
        body,
        kind=found[3],
        org_id=found[0],
        project_id=found[1],
        source=envelope.source,
        seq=envelope.seq if has_seq else None,
        token=envelope.token,
        attempt=envelope.attempt,
        event_id=envelope.event_id,
        seconds=seconds(envelope.ts),
        content=_content(body),
    )


def _content(body: dict[str, Any]) -> Body | None:
    named = body.get("type")
    kind = _BODIES.get(named) if isinstance(named, str) else None
    if kind is None:
        return None
    content: Body | None = read_row(kind, bounded(body))
    return content


def _of_subject(topic: str, data: Mapping[str, Any]) -> tuple[str, str, str, str] | None:
    """Return the parts of a topic that is a subject of NATS, if the message names the same; else None."""
    if len(topic) > MAX_NAME or not _SUBJECT.fullmatch(topic):
        return None
    try:
        found = parse_telemetry_topic(topic_of(topic.replace("/", ".")))
    except ValueError:
        return None
    named = tuple(data.get(key) for key in ("org_id", "project_id", "run_id"))
    return found if found is not None and found[:3] == named else None


def parse_presence(topic: str, payload: bytes | bytearray) -> Presence | Cleared | None:
    """Return the presence on ``cascade/status/{source}``, or None if it is not a presence."""
    source = parse_status_topic(topic) if len(topic) <= MAX_NAME else None
    data = json_object(payload) if source else None
    if not source or data is None:
        return None
    if not data:
        return Cleared(topic)
    if data.get("status") == "online":
        birth = read(Birth, bounded(data))
        return Presence(
            source,
            True,
            session=birth.session,
            host=birth.host,
            pid=birth.pid or None,
            version=birth.version,
            seconds=seconds(birth.ts),
        )
    if data.get("status") == "offline":
        offline = read(Offline, bounded(data))
        return Presence(source, False, session=offline.session, reason=offline.reason)
    return None


def parse_register(topic: str, payload: bytes | bytearray) -> Register | Store | Cleared | None:
    """Return the content of a register or the store's identity; None for any other topic.

    A message that cannot be obeyed is a register too: ``problem`` states why.
    """
    if topic == STORE_TOPIC:
        return _store(payload)
    found = parse_constraint_topic(topic) if len(topic) <= MAX_NAME else None
    if found is None:
        return None
    scope, kind = found
    if len(payload) > MAX_REGISTER_BYTES:
        return Register(topic, scope, kind, problem="it is longer than 64 KiB")
    data = json_object(payload)
    if data is None:
        return Register(topic, scope, kind, problem="it is not a JSON object")
    return _register(topic, scope, kind, bounded(data)) if data else Cleared(topic)


def _store(payload: bytes | bytearray) -> Store | Cleared | None:
    data = bounded(json_object(payload))
    if data is None:
        return None
    store = data.get("store")
    return Store(store) if store and isinstance(store, str) else Cleared(STORE_TOPIC)


def _register(topic: str, scope: str, kind: str, data: Mapping[str, Any]) -> Register:
    content: ConstraintByHand | None = read_row(ConstraintByHand, data)
    if content is None:
        return Register(topic, scope, kind, problem="one of its values has a wrong type")
    problem = ""
    if not is_canonical(topic, scope, kind):
        problem = f"only {constraint_topic(scope, kind)} is a register of this scope"
    elif not content.type:
        problem = "it names no type"
    elif kind not in ("", content.type):
        problem = f"it names the type {content.type!r}, its topic {kind!r}"
    elif data.get("scope", scope) != scope:
        problem = "it names another scope than its topic"
    kind = kind or content.type
    return Register(
        topic,
        scope,
        kind,
        id=content.id or constraint_id(scope, kind),
        params=content.params,
        expires_at=content.expires_at,
        by=content.by,
        problem=problem,
    )


def parse_report(topic: str, payload: bytes | bytearray) -> Report | Cleared | None:
    """Return a report on ``cascade/state/{source}/...``, or None if it is not one.

    A report that names another source than its topic is not understood.
    """
    found = parse_state_topic(topic) if len(topic) <= MAX_NAME else None
    kind = _REPORTS.get(found[1]) if found is not None and found[0] else None
    if found is None or kind is None or len(payload) > MAX_REPORT_BYTES:
        return None
    data = json_object(payload)
    if data is None or not is_version_1(data):
        return None
    if not data:
        return Cleared(topic)
    source = found[0]
    if data.get("source", source) != source:
        return None
    report: Report = read(kind, {**bounded(data), "source": source})
    return report


def parse_ack(topic: str, payload: bytes | bytearray) -> Acknowledgement | Cleared | None:
    """Return what a collector has stored, from ``cascade/ack/{source}``; None for anything else.

    A run of which the holes cannot be read is left out.
    """
    source = parse_ack_topic(topic) if len(topic) <= MAX_NAME else None
    data = json_object(payload) if source and len(payload) <= MAX_REPORT_BYTES else None
    if data is None or not is_version_1(data):
        return None
    if not data:
        return Cleared(topic)
    found = bounded(data)
    ack = read(Acknowledgement, found)
    named = found.get("missing", {})
    if not isinstance(named, dict):
        named = dict.fromkeys(ack.upto)
    wrong = {run for run in named if not _are_holes(ack.missing.get(run))}
    return Acknowledgement(
        v=ack.v,
        by=ack.by,
        upto={run: seq for run, seq in ack.upto.items() if run not in wrong},
        missing={run: holes for run, holes in ack.missing.items() if run not in wrong and run in ack.upto},
    )


def _are_holes(found: list[list[int]] | None) -> bool:
    return found is not None and all(first <= last for first, last in found)
