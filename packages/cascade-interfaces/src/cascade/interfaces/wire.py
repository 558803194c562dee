"""Messages that a connector writes itself (``PROTOCOL.md``): reports of a process without an engine, and JSON encoding that never fails."""

from __future__ import annotations

import json
import math
import os
import time
from collections.abc import Callable, Mapping, Sequence, Set
from functools import lru_cache
from typing import Any

from cascade.interfaces.abilities import SupportsLink, supports
from cascade.interfaces.errors import ExternalError
from cascade.interfaces.topics import state_topic

VERSION = "1.0"
"""Version of the telemetry envelope; readers accept every ``1.*``."""

MAX_DEPTH = 64
MAX_TEXT = 200
SURE_BITS = 2_000
"""Fewer than 640 decimal digits, which Python writes whatever the limit of ``sys.set_int_max_str_digits``."""


def _make_encoder() -> Callable[[Any], str]:
    """Return a function that does what ``json.dumps`` does, without making an encoder for every call."""
    from json import encoder

    plain = json.JSONEncoder(allow_nan=False, check_circular=False)
    if (make := getattr(encoder, "c_make_encoder", None)) is None:
        return plain.encode
    pieces = make(None, plain.default, encoder.encode_basestring_ascii, None, ": ", ", ", False, False, False)
    return lambda value: "".join(pieces(value, 0))


_encode = _make_encoder()


class UndecodableMessageError(ExternalError, ValueError):
    """The bytes of a message are not a JSON object."""


def default_source() -> str:
    """Return ``{host}-{pid}``: the source of a process without a name."""
    import platform  # slow to import, and only telemetry needs it

    return f"{platform.node()}-{os.getpid()}"


def source_of(connector: object) -> str:
    """Return the source of what leaves through a connector: its name, or that of a process without a name."""
    return connector.source_id if supports(connector, SupportsLink) else default_source()


def new_token() -> str:
    """Return 8 random hex digits: the token of one attempt of a run."""
    return os.urandom(4).hex()


def timestamp(seconds: float) -> str:
    """Return seconds since the epoch as ISO 8601 in UTC, with microseconds."""
    micro = round(seconds * 1_000_000)
    whole = micro // 1_000_000
    return f"{_second(whole)}.{micro - whole * 1_000_000:06d}+00:00"


def idle_reports(
    source: str, *, presence: str, now: float, recent: Sequence[Mapping[str, Any]] | None = None
) -> dict[str, dict[str, Any]]:
    """Return both reports of a named process that no engine uses yet, by topic.

    They replace the retained reports of an earlier process of that name.

    :param presence: the session of the birth.
    :param now: seconds since the epoch.
    :param recent: rows of runs that ended in earlier processes.
    """
    head = {"v": VERSION, "source": source, "session": presence, "presence": presence}
    constraints = {"sync": "idle", "applied": {}, "effective": [], "in_scope_running": 0}
    return {
        state_topic(source, "constraints"): {**head, **constraints, "ts": timestamp(now)},
        state_topic(source, "runs"): {**head, "runs": [], "recent": list(recent or ()), "ts": timestamp(now)},
    }


LOST = "Lost"
"""Status of a run whose process died, as the next one of that name reports."""
FAILED_STATUSES = frozenset({"Failed", LOST})
"""Of a run that has not done what it was to do, although nobody stopped it."""
MAX_RECENT = 10
"""Rows of runs that have ended in a report."""
KEPT_FAILURES = 3
"""Of them, the newest that failed: they stay however many runs succeed after them."""


def row_to_drop(statuses: Sequence[str]) -> int:
    """Return which row goes when there are too many: the oldest but for the newest three that failed.

    :param statuses: of the runs, the latest first; not empty.

    >>> row_to_drop(["Succeeded", "Failed", "Succeeded", "Failed"])
    2
    """
    kept = [index for index, status in enumerate(statuses) if status in FAILED_STATUSES][:KEPT_FAILURES]
    return max(set(range(len(statuses))).difference(kept), default=len(statuses) - 1)


def encode_payload(payload: Mapping[str, Any] | None) -> tuple[str, int]:
    """Return a payload as JSON text, and how many of its values JSON does not have.

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

    :raises UndecodableMessageError: if it is anything else, or has NaN or Infinity.
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
    """Return the part of a timestamp that thousands of consecutive events share."""
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(whole))


def _refuse_constant(name: str) -> Any:
    raise ValueError(f"{name} is not JSON")


_decode = json.JSONDecoder(
    parse_constant=_refuse_constant
).decode  # json.loads would make a decoder for each message


def _writable(value: int) -> bool:
    try:
        return bool(int.__repr__(value))
    except ValueError:
        return False


class _Sanitizer:
    """Copies a payload into values that JSON has, and counts the replaced ones."""

    def __init__(self) -> None:
        self.replaced = 0
        self._open: list[int] = []  # identities of the containers being copied

    def mapping(self, payload: Mapping[Any, Any]) -> dict[str, Any]:
        return {self._key(key): self._value(value) for key, value in list(payload.items())}

    def _key(self, key: object) -> str:
        if isinstance(key, str):
            # str() of an enumeration's member would return its name
            return str.__str__(key)
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
        except Exception:
            # a user's __repr__ must not lose the rest of the message
            text = object.__repr__(value)
        return text if len(text) <= MAX_TEXT else text[: MAX_TEXT - 1] + "…"
