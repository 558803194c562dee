"""Read values of JSON that anyone may have written."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from datetime import datetime
from itertools import islice
from typing import Any

MAX_BYTES = 1 << 20
"""A longer payload is not decoded."""
MAX_TEXT = 1_000
"""Characters that are kept of a text."""
MAX_TAGS = 50
_MAX_WHOLE = 1 << 63
_LARGEST = 1.7e308
_SURROGATE = re.compile(r"\\u[dD][89a-fA-F]")


def json_object(payload: bytes | bytearray) -> dict[str, Any] | None:
    """Return the JSON object in a payload, ``{}`` for an empty payload, None for anything else.

    NaN and numbers beyond a double become None: they are not JSON, but the rest of the message is. A question
    mark replaces a lone surrogate, which JSON can name and which no file, topic or terminal can hold.
    """
    if not payload:
        return {}
    if len(payload) > MAX_BYTES:
        return None
    try:
        text = payload.decode()
        data = _decode(text)
        if _SURROGATE.search(text):
            data = json.loads(json.dumps(data, ensure_ascii=False).encode("utf-8", "replace"))
    except (ValueError, RecursionError):
        return None
    return data if isinstance(data, dict) else None


def _finite(text: str) -> float | None:
    value = float(text)
    return value if math.isfinite(value) else None


_decode = json.JSONDecoder(parse_constant=lambda name: None, parse_float=_finite).decode


def is_version_1(data: Mapping[str, Any]) -> bool:
    """Return whether a reader of version 1.0 may read a message; one without a version it may."""
    version = data.get("v", "1.0")
    return isinstance(version, str) and version.startswith("1.")


def text(data: Mapping[str, Any], key: str) -> str:
    """Return the text at ``key``, cut at 1,000 characters; empty if there is none."""
    value = data.get(key)
    return value[:MAX_TEXT] if isinstance(value, str) else ""


def number(data: Mapping[str, Any], key: str) -> float | None:
    """Return the finite number at ``key``, or None; a boolean is not a number."""
    value = data.get(key)
    if isinstance(value, bool) or not isinstance(value, int | float) or not -_LARGEST < value < _LARGEST:
        return None
    return value


def whole(data: Mapping[str, Any], key: str) -> int | None:
    """Return the integer from 0 to 2**63 at ``key``, or None."""
    value = data.get(key)
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value < _MAX_WHOLE:
        return None
    return value


def flag(data: Mapping[str, Any], key: str) -> bool | None:
    """Return the boolean at ``key``, or None."""
    value = data.get(key)
    return value if isinstance(value, bool) else None


def seconds(data: Mapping[str, Any], key: str = "ts") -> float | None:
    """Return the ISO 8601 time at ``key`` as seconds since the epoch, or None."""
    try:
        return datetime.fromisoformat(text(data, key)).timestamp()
    except (ValueError, OverflowError, OSError):
        return None


def mapping(data: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    """Return the object at ``key``; empty if there is none."""
    value = data.get(key)
    return value if isinstance(value, dict) else {}


def tags(data: Mapping[str, Any]) -> dict[str, str | float | bool]:
    """Return the texts, numbers and booleans of the object at ``tags``, at most 50 of them."""
    kept = islice(mapping(data, "tags").items(), MAX_TAGS)
    return {
        tag[:MAX_TEXT]: value[:MAX_TEXT] if isinstance(value, str) else value
        for tag, value in kept
        if isinstance(value, str | int | float)
    }


def objects(data: Mapping[str, Any], key: str, limit: int) -> list[dict[str, Any]]:
    """Return the first ``limit`` objects of the list at ``key``; other items are left out."""
    value = data.get(key)
    return [each for each in value[:limit] if isinstance(each, dict)] if isinstance(value, list) else []
