"""One message of the wire, read from its topic and its bytes."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import islice
from typing import Any

from cascade.interfaces.control_messages import constraint_id
from cascade.interfaces.subjects import topic_of
from cascade.interfaces.topics import (
    DATA,
    EVENTS,
    STORE_TOPIC,
    parse_constraint_topic,
    parse_status_topic,
    parse_telemetry_topic,
)
from cascade.interfaces.wire.read import _fields as fields

MAX_ROWS = 500
"""Registers and constraints that are read of one report."""
MAX_NAME = 1_000
"""Characters of the longest name of a run, a source or a register that is accepted."""
MAX_REGISTER_BYTES = 64 * 1024
"""Engines refuse a longer register."""
MAX_DATA_BYTES = 64 * 1024
"""A longer message of the kind ``data`` is not read."""
_SUBJECT = re.compile(r"[A-Za-z0-9_=/-]+")


@dataclass(frozen=True, slots=True)
class EventMessage:
    """One message of telemetry."""

    run_id: str
    body: Mapping[str, Any]
    """As it came: read it with :func:`text` and :func:`number`."""
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

    @property
    def type(self) -> str:
        """``TaskStateEvent``, ``LifecycleEvent`` ...; empty if the body names none."""
        return fields.text(self.body, "type")


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
class Compliance:
    """What an engine does with a register."""

    status: str
    """``applied``, ``expired``, ``no_match``, ``unsupported`` or ``rejected``."""
    reason: str = ""
    id: str = ""


@dataclass(frozen=True, slots=True)
class ConstraintsReport:
    """What an engine obeys."""

    source: str
    session: str
    sync: str
    applied: Mapping[str, Compliance]
    """By topic of a register."""
    effective: tuple[Mapping[str, Any], ...]
    """``scope``, ``type`` and ``params`` of what is in force."""
    in_scope_running: int
    more: int = 0
    """Registers that the report leaves out."""
    seconds: float | None = None
    presence: str = ""
    """Session of the engine's birth; empty without presence."""


@dataclass(frozen=True, slots=True)
class Cleared:
    """A retained topic was cleared."""

    topic: str


def parse_event(topic: str, payload: bytes | bytearray) -> EventMessage | None:
    """Return a message of telemetry, or None if it is not one.

    It needs the topic's ``run_id`` and a ``body``; every other key may be missing. The topic may have its names as
    nats-server shows them to MQTT clients when its own client has sent the message: with ``=2E`` for a dot.
    """
    found = parse_telemetry_topic(topic)
    too_long = found is not None and found[3] == DATA and len(payload) > MAX_DATA_BYTES
    data = fields.json_object(payload) if found and not too_long else None
    if found is None or not data or not fields.is_version_1(data):
        return None
    if "=" in topic and (other := _of_subject(topic, data)) is not None and other[3] == found[3]:
        found = other
    run_id, body, seq = data.get("run_id"), data.get("body"), fields.whole(data, "seq")
    if not run_id or run_id != found[2] or len(run_id) > MAX_NAME or not isinstance(body, dict):
        return None
    if seq is None and "seq" in data:
        return None
    return EventMessage(
        run_id,
        body,
        kind=found[3],
        org_id=found[0],
        project_id=found[1],
        source=fields.text(data, "source"),
        seq=seq,
        token=fields.text(data, "token"),
        attempt=fields.whole(data, "attempt") or 1,
        event_id=fields.text(data, "event_id"),
        seconds=fields.seconds(data),
    )


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
    data = fields.json_object(payload) if source else None
    if not source or data is None:
        return None
    status = data.get("status")
    if not data:
        return Cleared(topic)
    if status not in ("online", "offline"):
        return None
    return Presence(
        source,
        status == "online",
        session=fields.text(data, "session"),
        reason=fields.text(data, "reason"),
        host=fields.text(data, "host"),
        pid=fields.whole(data, "pid"),
        version=fields.text(data, "version"),
        seconds=fields.seconds(data),
    )


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
    data = fields.json_object(payload)
    if data is None:
        return Register(topic, scope, kind, problem="it is not a JSON object")
    return _register(topic, scope, kind, data) if data else Cleared(topic)


def _store(payload: bytes | bytearray) -> Store | Cleared | None:
    data = fields.json_object(payload)
    if data is None:
        return None
    store = fields.text(data, "store")
    return Store(store) if store else Cleared(STORE_TOPIC)


def _register(topic: str, scope: str, kind: str, data: Mapping[str, Any]) -> Register:
    named = fields.text(data, "type")
    problem = ""
    if not named:
        problem = "it names no type"
    elif kind not in ("", named):
        problem = f"it names the type {named!r}, its topic {kind!r}"
    elif data.get("scope", scope) != scope:
        problem = "it names another scope than its topic"
    kind = kind or named
    return Register(
        topic,
        scope,
        kind,
        id=fields.text(data, "id") or constraint_id(scope, kind),
        params=fields.mapping(data, "params"),
        expires_at=fields.number(data, "expires_at"),
        by=fields.text(data, "by"),
        problem=problem,
    )


def read_constraints_report(source: str, data: Mapping[str, Any]) -> ConstraintsReport:
    """Return the report in a message of ``source``."""
    applied = islice(fields.mapping(data, "applied").items(), MAX_ROWS)
    return ConstraintsReport(
        source,
        session=fields.text(data, "session"),
        sync=fields.text(data, "sync"),
        applied={topic: _compliance(row) for topic, row in applied if isinstance(row, dict)},
        effective=tuple(fields.objects(data, "effective", MAX_ROWS)),
        in_scope_running=fields.whole(data, "in_scope_running") or 0,
        more=fields.whole(data, "more") or 0,
        seconds=fields.seconds(data),
        presence=fields.text(data, "presence"),
    )


def _compliance(row: Mapping[str, Any]) -> Compliance:
    return Compliance(*(fields.text(row, key) for key in ("status", "reason", "id")))
