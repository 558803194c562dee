"""The shapes on the wire (``PROTOCOL.md``), and JSON that never fails to be made."""

from __future__ import annotations

import json
import math
import os
import time
from collections.abc import Callable, Mapping, Set
from functools import lru_cache
from typing import Any, TypedDict

from cascade.interfaces.errors import ExternalError
from cascade.interfaces.events import Event, LifecycleEvent, TaskStateEvent
from cascade.interfaces.topics import EVENTS

VERSION = "1.0"
"""Version of the telemetry envelope; readers accept every ``1.*``."""

MAX_DEPTH = 64
MAX_TEXT = 200
SURE_BITS = 2_000
"""Fewer than 640 decimal digits, which Python writes whatever ``sys.set_int_max_str_digits`` was told."""


def _make_encoder() -> Callable[[Any], str]:
    """Return what ``json.dumps`` does, without what that makes anew for every call."""
    from json import encoder

    plain = json.JSONEncoder(allow_nan=False, check_circular=False)
    if (make := getattr(encoder, "c_make_encoder", None)) is None:
        return plain.encode
    pieces = make(None, plain.default, encoder.encode_basestring_ascii, None, ": ", ", ", False, False, False)
    return lambda value: "".join(pieces(value, 0))


_encode = _make_encoder()


class TaskStateBody(TypedDict, total=False):
    """``body`` of a task's change of state; ``reason`` only when there is one."""

    type: str
    task_id: str
    task_name: str
    state: str
    duration_ms: float
    error: str
    reason: str


class LifecycleBody(TypedDict, total=False):
    """``body`` of a run's start or end; ``status`` and ``error`` only at the end."""

    type: str
    event: str
    status: str
    error: str


class ProgressBody(TypedDict):
    """``body`` of how far a task is; ``total`` is null when nobody knows."""

    type: str
    task_id: str
    task_name: str
    done: float
    total: float | None


class Envelope(TypedDict):
    """One message of telemetry."""

    v: str
    ts: str
    run_id: str
    org_id: str
    project_id: str
    source: str
    seq: int
    event_id: str
    body: Mapping[str, Any]


class UndecodableMessageError(ExternalError, ValueError):
    """A message whose bytes are not a JSON object."""


def default_source() -> str:
    """Return ``{host}-{pid}``: the source of whoever was given no name."""
    import platform  # slow to import, and only telemetry asks

    return f"{platform.node()}-{os.getpid()}"


def timestamp(seconds: float) -> str:
    """Return seconds since the epoch as ISO 8601 in UTC, with microseconds."""
    micro = round(seconds * 1_000_000)
    whole = micro // 1_000_000
    return f"{_second(whole)}.{micro - whole * 1_000_000:06d}+00:00"


def body_of(event: Event, clean: Callable[[str], str] = str) -> TaskStateBody | LifecycleBody | ProgressBody:
    """Return the ``body`` that tells ``event``; ``clean`` makes free text fit to leave the process."""
    if isinstance(event, TaskStateEvent):
        return _task_state_body(event, clean)
    if isinstance(event, LifecycleEvent):
        return _lifecycle_body(event, clean)
    return {
        "type": "ProgressEvent",
        "task_id": event.task_id,
        "task_name": event.task_name,
        "done": event.done,
        "total": event.total,
    }


def envelope(
    event: Event,
    body: Mapping[str, Any],
    *,
    org_id: str,
    project_id: str,
    source: str,
    seq: int,
    kind: str = EVENTS,
) -> Envelope:
    """Wrap a body; ``seq`` counts the messages of this source, run and kind from 0.

    ``event_id`` is made from run, kind and ``seq``: unique, and cheaper than a random one.
    """
    return {
        "v": VERSION,
        "ts": timestamp(event.timestamp),
        "run_id": event.run_id,
        "org_id": org_id,
        "project_id": project_id,
        "source": source,
        "seq": seq,
        "event_id": f"{event.run_id}-{seq}" if kind == EVENTS else f"{event.run_id}-{kind}-{seq}",
        "body": body,
    }


def encode_payload(payload: Mapping[str, Any] | None) -> tuple[str, int]:
    """Return a payload as JSON text, and how many things in it JSON cannot hold.

    Those are replaced: ``NaN`` and infinities by their names, sets by lists, keys by text,
    anything else by its clipped ``repr``. ``None`` gives the empty text. Never raises.
    """
    if payload is None:
        return "", 0
    try:
        return _encode(payload if type(payload) is dict else dict(payload)), 0
    except (TypeError, ValueError, RecursionError):
        safe = _Sanitizer()
        return _encode(safe.mapping(payload)), max(safe.replaced, 1)


def decode_payload(payload: bytes) -> dict[str, Any]:
    """Return the JSON object in ``payload``; ``{}`` for an empty message.

    :raises UndecodableMessageError: if it is anything else, also NaN and Infinity.
    """
    if not payload:
        return {}
    try:
        data = _decode(payload.decode())
    except (ValueError, RecursionError) as exc:
        raise UndecodableMessageError(f"not JSON: {exc}") from exc
    if not isinstance(data, dict):
        raise UndecodableMessageError(f"a JSON {type(data).__name__}, not an object")
    return data


@lru_cache(maxsize=8)
def _second(whole: int) -> str:
    """Return the part of a timestamp that thousands of events in a row share."""
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(whole))


def _task_state_body(event: TaskStateEvent, clean: Callable[[str], str]) -> TaskStateBody:
    body: TaskStateBody = {
        "type": "TaskStateEvent",
        "task_id": event.task_id,
        "task_name": event.task_name,
        "state": event.state.value,
        "duration_ms": event.duration_ms,
        "error": clean(event.error) if event.error else "",
    }
    if event.reason:
        body["reason"] = clean(event.reason)
    return body


def _lifecycle_body(event: LifecycleEvent, clean: Callable[[str], str]) -> LifecycleBody:
    body: LifecycleBody = {"type": "LifecycleEvent", "event": event.event.value}
    if event.status is not None:
        body["status"] = event.status.value
        body["error"] = clean(event.error)
    return body


def _refuse_constant(name: str) -> Any:
    raise ValueError(f"{name} is not JSON")


_decode = json.JSONDecoder(
    parse_constant=_refuse_constant
).decode  # json.loads would make one for each message


def _writable(value: int) -> bool:
    try:
        return bool(int.__repr__(value))
    except ValueError:
        return False


class _Sanitizer:
    """Copies a payload into what JSON can hold, and counts what it replaced."""

    def __init__(self) -> None:
        self.replaced = 0
        self._open: list[int] = []  # identities of the containers being copied

    def mapping(self, payload: Mapping[Any, Any]) -> dict[str, Any]:
        return {self._key(key): self._value(value) for key, value in list(payload.items())}

    def _key(self, key: object) -> str:
        if isinstance(key, str):
            return str.__str__(key)  # of an enumeration, too, str() tells the name
        if key is None or isinstance(key, int | float):
            value = self._value(key)
            return value if isinstance(value, str) else _encode(value)
        self.replaced += 1
        return self._text(key)

    def _value(self, value: object) -> Any:
        if value is None or isinstance(value, bool | str):
            return value
        if isinstance(value, int | float):
            return self._number(value)
        if isinstance(value, Mapping | list | tuple | Set):
            return self._container(value)
        return self._replace(self._text(value))

    def _container(self, value: Any) -> Any:
        if id(value) in self._open:
            return self._replace("<circular>")
        if len(self._open) >= MAX_DEPTH:
            return self._replace("<nested too deep>")
        self._open.append(id(value))
        try:
            if isinstance(value, Mapping):
                return self.mapping(value)
            items = [self._value(item) for item in list(value)]
            return self._replace(items) if isinstance(value, Set) else items
        finally:
            self._open.pop()

    def _number(self, value: float) -> Any:
        if isinstance(value, float) and not math.isfinite(value):
            return self._replace("NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity")
        if isinstance(value, int) and value.bit_length() > SURE_BITS and not _writable(value):
            return self._replace(f"<integer of {value.bit_length()} bits>")
        return value

    def _replace(self, substitute: Any) -> Any:
        self.replaced += 1
        return substitute

    def _text(self, value: object) -> str:
        try:
            text = repr(value)
        except Exception:  # a foreign __repr__ must not lose the rest of the message
            text = object.__repr__(value)
        return text if len(text) <= MAX_TEXT else text[: MAX_TEXT - 1] + "…"
