"""The base of every message on the wire, and the types of its values (``PROTOCOL.md``).

A key without a default is in every message that Cascade writes; a key with one is left out while it has this value. A reader
puts the empty value of its type, or what ``missing`` says, where a message lacks a key.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Annotated, Any, TypeVar

from msgspec import Meta, Struct, to_builtins

T = TypeVar("T")

_ROWS = Meta(extra={"rows": True})
Rows = Annotated[list[T], _ROWS]
"""A list of which a reader leaves out the items that are wrong."""
NamedRows = Annotated[dict[str, T], _ROWS]
"""An object of which a reader leaves out the values that are wrong."""

_LARGEST = (1 << 63) - 1
Whole = Annotated[int, Meta(ge=0, le=_LARGEST)]
Attempt = Annotated[int, Meta(ge=1, le=_LARGEST, extra={"missing": 1})]
"""Counted from 1."""
Number = int | float
Counts = dict[str, Whole]
"""Tasks by state."""
Tags = dict[str, str | int | float | bool]


class Message(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """An object on the wire. Readers ignore keys that it does not declare."""


def to_wire(message: Message) -> dict[str, Any]:
    """Return what to publish: a dict with the keys in the order of the class."""
    found: dict[str, Any] = to_builtins(message, enc_hook=_plain)
    return found


def _plain(value: Any) -> Any:
    """Return a value of a class that is not one of JSON's as one that is."""
    if isinstance(value, str):
        return str.__str__(value)
    if isinstance(value, int | float):
        return int(value) if isinstance(value, int) else float(value)
    return dict(value) if isinstance(value, Mapping) else repr(value)


def encoded_size(part: Any) -> int:
    """Return how many bytes a part of a report takes on the wire, with the ``, `` or ``: `` behind it."""
    return len(json.dumps(part, default=to_wire)) + 2
