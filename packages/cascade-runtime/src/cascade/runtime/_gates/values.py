"""Read the value of a gate from a payload as devices send it: JSON at a path, or a bare number or word. No I/O."""

from __future__ import annotations

import re
from typing import Any, NamedTuple

import msgspec

from cascade.interfaces.gates import MAX_SHOWN, Gate
from cascade.interfaces.text import printable

MAX_BYTES = 64 * 1024
"""A longer payload has no value."""

_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d{1,4})?", re.ASCII)
_MAX_DIGITS = 400
_LARGEST = 1e300
_MISSING = object()


class NoValue(NamedTuple):
    """A payload from which no value can be read."""

    why: str
    """In words, behind the topic: ``sends nothing at w``."""


TOO_LARGE = NoValue("sends a number that is too large")


def read_value(payload: bytes, gate: Gate) -> float | str | NoValue:
    """Return the number, or with ``equals`` the word, that a payload holds for a gate; never raises."""
    if not payload:
        return NoValue("sends an empty message")
    if len(payload) > MAX_BYTES:
        return NoValue(f"sends more than {MAX_BYTES} bytes")
    found = _at(_decode(payload, bare=not gate.path), gate.path)
    if found is _MISSING or found is None:
        return NoValue(f"sends nothing at {printable(gate.path)}" if gate.path else "sends null")
    if isinstance(found, dict | list):
        kind = "an object" if isinstance(found, dict) else "a list"
        return NoValue(
            f"sends {kind}{f' at {printable(gate.path)}' if gate.path else ': name the path of the value'}"
        )
    return _word(found) if gate.comparison == "equals" else _number(found)


def shown(value: float | str) -> float | str:
    """Return a value as a report shows it: a number, or the first characters of a word."""
    if isinstance(value, str):
        return printable(value[:MAX_SHOWN])[:MAX_SHOWN]
    # a larger one does not fit into the integers of all readers
    return value if abs(value) <= 2**53 else float(value)


def _decode(payload: bytes, *, bare: bool) -> Any:
    """Return the JSON value of a payload; of one that is not JSON, its text, if a bare word is expected."""
    try:
        return msgspec.json.decode(payload)
    except (msgspec.MsgspecError, ValueError, RecursionError):
        if not bare:
            return _MISSING
        return payload.decode("utf-8", "replace").strip()


def _at(value: Any, path: str) -> Any:
    """Follow a JSON pointer (RFC 6901) without its first slash."""
    for token in path.split("/") if path else ():
        name = token.replace("~1", "/").replace("~0", "~")
        if isinstance(value, dict):
            value = value.get(name, _MISSING)
        elif isinstance(value, list) and name.isascii() and name.isdigit() and len(name) < 6:
            value = value[int(name)] if int(name) < len(value) else _MISSING
        else:
            return _MISSING
    return value


def _number(value: object) -> float | NoValue:
    """Return a number, also one that is written as a text, as many devices do."""
    found = value
    if isinstance(value, str) and len(value) <= _MAX_DIGITS and _NUMBER.fullmatch(value.strip()):
        found = float(value)
    if isinstance(found, bool) or not isinstance(found, int | float):
        quoted = f"'{shown(value)}'" if isinstance(value, str) else str(value).lower()
        return NoValue(f"sends {quoted}, not a number")
    return found if abs(found) <= _LARGEST else TOO_LARGE


def _word(value: object) -> str | NoValue:
    """Return a word; numbers and booleans as JSON writes them."""
    if isinstance(value, str):
        return value
    if isinstance(value, bool) or not isinstance(value, int | float):
        return str(value).lower()
    return f"{value:.15g}" if abs(value) <= _LARGEST else TOO_LARGE
